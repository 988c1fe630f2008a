"The equations and layers that systems share."
