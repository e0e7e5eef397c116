"""Gradient steps on copies of a network, through learn2learn. No system and no command uses them yet."""
