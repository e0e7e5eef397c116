"""Settings of VidEoMT."""

from __future__ import annotations

from dataclasses import dataclass

from fewshot.config.keys import key
from fewshot.config.limits import LONGEST_SIDE
from fewshot.systems.config import SystemConfig


@dataclass
class VidEoMTConfig(SystemConfig):
    """VidEoMT and its sizes; the defaults are those of transformers."""

    name: str = key("videomt", "the system")
    classes: int = key(40, "classes that its weights tell apart, those of one data set", minimum=1, maximum=10_000)
    image_size: int = key(640, "side of the square frames that it sees, in pixels", minimum=16, maximum=LONGEST_SIDE)
    patch_size: int = key(16, "side of a patch in pixels; must divide image_size", minimum=1, maximum=64)
    hidden_dim: int = key(1024, "width of the transformer; a multiple of the heads", minimum=1, maximum=8192)
    layers: int = key(24, "layers of the transformer", minimum=1, maximum=64)
    heads: int = key(16, "attention heads; must divide hidden_dim", minimum=1, maximum=256)
    query_layers: int = key(4, "last layers, in which the queries take part", minimum=1, maximum=64)
    num_queries: int = key(200, "queries, each of which follows one thing", minimum=1, maximum=10_000)
    upscalings: int = key(2, "doublings of the patches' map before masks are drawn", minimum=0, maximum=4)

    def check(self) -> None:
        """Refuse widths and sides that cannot be split."""
        if self.hidden_dim % self.heads:
            raise ValueError(f"system.heads={self.heads} must divide system.hidden_dim={self.hidden_dim}")
        if self.image_size % self.patch_size:
            raise ValueError(f"system.patch_size={self.patch_size} must divide system.image_size={self.image_size}")
        if self.query_layers > self.layers:
            raise ValueError(f"system.query_layers={self.query_layers} are more than system.layers={self.layers}")


# An instance that a CPU runs in a moment.
SMALL = {
    "classes": 3,
    "image_size": 64,
    "hidden_dim": 32,
    "layers": 2,
    "heads": 4,
    "query_layers": 1,
    "num_queries": 6,
}
