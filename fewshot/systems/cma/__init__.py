"""CMA (ICCV 2023), its baseline and its self-affinity variant."""

from fewshot.systems.cma.model import CMA, Sizes
from fewshot.systems.cma.support import CMAState

__all__ = ["CMA", "CMAState", "Sizes"]
