"""Draws of episodes, each a pure function of its index, and frozen lists of them."""
