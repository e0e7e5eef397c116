"""Tests against the numbers of the official evaluators."""
