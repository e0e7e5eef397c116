"""Tests of the metrics, protocols, scores and mask files."""
