"""Several photographs at once: the image files in a folder, or those that a pattern names."""

from __future__ import annotations

import glob
from pathlib import Path

from fewshot.media.reading import IMAGES, by_numbers, distinct_names, frame_files


def picture_files(source: str) -> list[Path] | None:
    """The image files of a folder or of a pattern such as `photos/*.jpg`, in the order of the numbers in their names.

    None where `source` is neither: one file, or nothing at all. A file whose name looks like a pattern is one file.

    Raises:
        ValueError: there are no images, or two of one name.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return frame_files(path)
    if path.exists() or not glob.has_magic(source):
        return None
    found = [Path(name) for name in glob.glob(str(path), recursive=True)]
    files = sorted((p for p in found if p.is_file() and p.suffix.lower() in IMAGES), key=lambda p: by_numbers(str(p)))
    if not files:
        held = f"{len(found)} other files" if found else "nothing"
        raise ValueError(f"{source} names no images ({', '.join(IMAGES)}), but {held}; videos are given one at a time")
    distinct_names(files, source)
    return files
