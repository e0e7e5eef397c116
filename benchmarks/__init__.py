"""Measures of segmentation: metrics, named protocols, reports, comparisons and mask files. A library: no commands."""
