"""Files as users have them: only regular ones are opened, text is UTF-8, and pictures have 8 bits a channel."""

from __future__ import annotations

import stat
from pathlib import Path

from PIL import Image

KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)


class UnsuitableFile(ValueError):
    """A file that may be whole, but is not of the kind that is read. The message says what to do."""


def refuse_special(path: Path, name: str) -> None:
    """Raise UnsuitableFile for a pipe, socket, device or folder: reading one would wait for ever.

    Raises FileNotFoundError where there is nothing. `name` is what the message calls it.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        kind = next((word for known, word in KINDS if known(mode)), "a device")
        raise UnsuitableFile(f"{name} is {kind}: only regular files are read, give one in its place")


def refuse_deep_pixels(image: Image.Image, name: str) -> None:
    """Raise UnsuitableFile for grey levels of more than 8 bits: their range is not known, PIL would cut it at 255."""
    if image.mode in ("F", "I") or image.mode.startswith("I;"):
        raise UnsuitableFile(f"{name} has pixels of mode {image.mode!r}, more than 8 bits each: convert it to 8 bits")


def open_image(path: Path, name: str) -> Image.Image:
    """A picture whose pixels are read when they are asked for.

    Raises FileNotFoundError, UnsuitableFile as the functions above, and for damage whatever PIL raises.
    """
    refuse_special(path, name)
    try:
        image = Image.open(path)
    except Image.DecompressionBombError as error:
        raise UnsuitableFile(f"{name} is too large ({error}): make it smaller") from error
    try:
        refuse_deep_pixels(image, name)
    except UnsuitableFile:
        image.close()
        raise
    return image


def read_text(path: Path) -> str:
    """Text of a file in UTF-8, with a byte order mark or without.

    Raises FileNotFoundError; UnsuitableFile for a pipe and the like, and for text in another encoding.
    """
    refuse_special(path, str(path))
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        wide = error.object.startswith((b"\xff\xfe", b"\xfe\xff"))
        other = "UTF-16" if wide else f"byte {error.start} is {error.object[error.start]:#04x}"
        raise UnsuitableFile(f"{path} is not text in UTF-8 ({other}): save it as UTF-8") from error


def make_folder(folder: Path, key: str) -> None:
    """Make a folder, and those above it. Raises ValueError with the `key` that names it where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"{key}: folder {folder} cannot be made ({error.strerror}): give another {key}=<folder>"
        ) from error
