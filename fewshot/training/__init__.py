"""Training loop, step, optimiser, data, settings and progress; meta-training and stages."""
