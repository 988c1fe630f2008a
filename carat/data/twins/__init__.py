"Synthetic data sets with known answers, shaped like the real ones."
