"""Sweeps: the YAML files of W&B, run on Optuna by any number of workers that share a study."""
