"""Scores per query, their sums and averages, and the intervals of these."""
