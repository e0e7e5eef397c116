"""Timings of metrics and models, as ratios within one run."""
