"""Gradient steps on the supports of each episode: a system around a system, and the files that it is made of."""
