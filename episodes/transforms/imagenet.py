"""Mean and standard deviation of ImageNet's pixels, by which frames are normalised: red, green, blue in 0..1."""

from __future__ import annotations

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
