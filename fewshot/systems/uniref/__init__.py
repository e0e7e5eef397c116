"""UniRef++ (ICCV 2023, arXiv 2312.15715): objects by language, by masks in other images, or by both."""

from fewshot.systems.uniref.detection import Detection
from fewshot.systems.uniref.model import Sizes, UniRef
from fewshot.systems.uniref.state import UniRefState

__all__ = ["Detection", "Sizes", "UniRef", "UniRefState"]
