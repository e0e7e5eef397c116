"""Transforms of clips: augmentation for training, resizing for testing, normalisation."""
