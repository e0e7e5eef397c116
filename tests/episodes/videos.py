"""Tiny videos of two objects, in the folders of the mask-guided and referring data sets."""

from __future__ import annotations

from pathlib import Path

from tests.episodes.tree import TinyVideo, write_frames

FRAMES = ["00000", "00005", "00010", "00015"]
LATE = TinyVideo({1: "dog", 2: "cat"}, [], hidden={(0, 2), (1, 2)})  # object 2 enters at the third frame


def write_videos(base: Path, videos: dict[str, TinyVideo], images="JPEGImages", masks="Annotations") -> None:
    """The frames and masks of `videos`, each with its first few of `FRAMES`."""
    for name, video in videos.items():
        write_frames(base / images / name, base / masks / name, FRAMES[: video.frames], video)


def write_davis(base: Path) -> Path:
    """DAVIS with the videos a (an object enters late) and b, and one that no list names."""
    videos = {"b": TinyVideo({1: "dog", 2: "cat"}, []), "a": LATE, "unlisted": LATE}
    write_videos(base, videos, "JPEGImages/480p", "Annotations/480p")
    for year, names in ((2017, "b\na\n"), (2016, "b\n")):
        (base / f"ImageSets/{year}").mkdir(parents=True)
        (base / f"ImageSets/{year}/val.txt").write_text(names)
    return base
