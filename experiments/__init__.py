"""Hydra configuration of the runs, and timings of models as ratios within one run."""
