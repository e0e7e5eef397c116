"""What is on disk of a data set: its known variant, files that cannot be read, leaks between splits, feasible folds."""
