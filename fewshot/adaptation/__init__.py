"""Gradient-based adaptation to the supports of an episode: a `System` that wraps a `System`."""
