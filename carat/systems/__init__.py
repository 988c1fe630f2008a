"Everything that can be trained: the name of a module here is its --kind."
