"""Tests of a system: benchmark, episodes, folds, scores, report, validation, and tasks without held-out classes."""
