"""`ImageScore`: pixel counts of the query image of one episode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class ImageScore:
    """The query image of one episode: counts at the resolution of the protocol, pixels to ignore left out.

    Attributes:
        seed: seed of the support draw.
        group: fold.
        probe: '' for the real number, else the sanity probe (`no_support`, `wrong_support`, ...).
        episode: index of the episode.
        class_id, class_name: the class the supports show.
        image: name of the query image.
        inter_bg, inter_fg: pixels that are background (foreground) in both prediction and truth.
        union_bg, union_fg: pixels that are background (foreground) in prediction or truth.
    """

    KEY: ClassVar[str] = "seed, group, probe, episode, class, image"
    seed: int
    group: int
    probe: str
    episode: int
    class_id: int
    class_name: str
    image: str
    inter_bg: int
    inter_fg: int
    union_bg: int
    union_fg: int

    def __post_init__(self) -> None:
        wrong_bg, wrong_fg = self.union_bg - self.inter_bg, self.union_fg - self.inter_fg
        # A wrong pixel is background in one mask and foreground in the other: it is in both unions.
        if min(self.inter_bg, self.inter_fg, wrong_bg) < 0 or wrong_bg != wrong_fg:
            counts = f"intersections {self.inter_bg}, {self.inter_fg}, unions {self.union_bg}, {self.union_fg}"
            raise ValueError(f"episode {self.episode}, image {self.image!r}: impossible pixel counts, {counts}")

    @property
    def key(self) -> tuple[int, int, str, int, int, str]:
        """What identifies the query, see `KEY`."""
        return self.seed, self.group, self.probe, self.episode, self.class_id, self.image

    @property
    def unit(self) -> str:
        """What is resampled in a bootstrap: the query image."""
        return self.image

    @property
    def frames(self) -> int:
        """An image is one frame."""
        return 1

    @property
    def iou(self) -> float:
        """Foreground IoU of this image in 0..1; 0 if prediction and truth are empty."""
        return self.inter_fg / self.union_fg if self.union_fg else 0.0
