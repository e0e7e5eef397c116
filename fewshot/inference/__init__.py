"""Model (a system with its input rule), segmenter, trackers of videos, loading and prediction."""
