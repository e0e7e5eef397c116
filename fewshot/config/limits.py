"""The largest values of keys that several commands have: generous, but a mistyped one is refused and not begun."""

from __future__ import annotations

from episodes.transforms.input_rule import LONGEST_SIDE as LONGEST_SIDE
from episodes.transforms.input_rule import SHORTEST_SIDE as SHORTEST_SIDE

LARGEST_SEED = 2**32 - 1
MOST_FRAMES = 200  # of one training or support clip
MOST_AT_ONCE = 10_000  # frames of one forward pass: a video that is shorter is taken whole
MOST_EPISODES = 10**7
MOST_STEPS = 10**9
MOST_DRAWS = 100_000  # of a bootstrap, each as long as the list of videos
MOST_PROCESSES = 256
MOST_THREADS = 1024
