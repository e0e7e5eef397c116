"""Files that are whole but not what is read: pipes, pixels of more than 8 bits, text that is not UTF-8."""

from __future__ import annotations

import os
import re
import signal
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.davis import read_sequence_list
from benchmarks.masks.png import read_labels as read_png
from benchmarks.scores.scores import read_scores
from episodes.catalogue import folds_of
from episodes.episode import ClipSpec
from episodes.plain_files import read_text
from episodes.sampling.lists import read_names
from episodes.sampling.manifest import read_manifest
from episodes.sources import open_source
from episodes.sources.files import read_grey, read_image, read_labels
from episodes.sources.fss1000 import read_fss_classes
from episodes.sources.index import load_json
from episodes.sources.instances import InstanceSource
from episodes.sources.mini_ref import MiniRefSource
from fewshot.cli.errors import is_user_error
from fewshot.media.masks import read_masks
from fewshot.media.reading import open_media
from tests.episodes.image_tree import write_coco, write_folder
from tests.episodes.tree import INNER, TinyVideo, write_tree


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """Ten seconds: what waits for a pipe fails instead of waiting for ever."""

    def too_late(*_: Any) -> None:
        raise TimeoutError("still waiting for a file after ten seconds")

    before = signal.signal(signal.SIGALRM, too_late)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def deep(mode: str, path: Path) -> Path:
    """A picture of 12x16 with more than 8 bits a pixel."""
    values = np.linspace(0, 40000, 192).reshape(12, 16)
    kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
    image = Image.fromarray(values.astype(kind))
    assert image.mode == mode
    image.save(path)
    return path


DEEP = [("I;16", "png"), ("I;16", "tif"), ("I", "tif"), ("F", "tif")]
READERS: list[Callable[[Path], Any]] = [
    read_image,
    read_labels,
    read_grey,
    read_png,
    open_media,
    lambda path: read_masks(path, "mask"),
]


@pytest.mark.parametrize(("mode", "suffix"), DEEP)
@pytest.mark.parametrize("read", READERS)
def test_more_than_eight_bits_are_refused_with_the_name_of_the_mode(read: Callable, mode: str, suffix: str, tmp_path):
    path = deep(mode, tmp_path / f"deep.{suffix}")
    with pytest.raises(
        ValueError, match=re.escape(f"{path} has pixels of mode '{mode}', more than 8 bits each: convert")
    ):
        read(path)


def test_sixteen_bits_of_three_colours_are_read_with_their_range(tmp_path):
    """PIL keeps the high byte of each, so 65535 is 255 and nothing is cut."""
    path = tmp_path / "deep.png"
    path.write_bytes(colours_of_sixteen_bits(np.array([[[0, 32768, 65535]]], np.uint16)))
    assert read_image(path).tolist() == [[[0, 128, 255]]]


def colours_of_sixteen_bits(pixels: np.ndarray) -> bytes:
    """A PNG of `(H, W, 3)` uint16, which PIL cannot write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_deep_images_are_problems_of_a_data_set_before_any_episode(tmp_path):
    write_folder(tmp_path, {"cat": 3, "dog": 3})
    (tmp_path / "cat" / "0.jpg").unlink()
    deep("I;16", tmp_path / "cat" / "0.tif")
    (problem,) = open_source("folder", tmp_path).problems()
    assert (
        problem == f"image {tmp_path}/cat/0.tif has pixels of mode 'I;16', more than 8 bits each: convert it to 8 bits"
    )


@pytest.mark.parametrize("read", READERS)
def test_a_pipe_is_refused_and_not_waited_for(read: Callable, tmp_path):
    path = tmp_path / "pipe.png"
    os.mkfifo(path)
    with pytest.raises(ValueError, match=f"{path} is a pipe: only regular files are read"):
        read(path)


def test_folders_and_devices_are_refused_as_what_they_are(tmp_path):
    (tmp_path / "a.png").mkdir()
    (tmp_path / "b.png").symlink_to("/dev/zero")
    for name, kind in (("a.png", "a folder"), ("b.png", "a device")):
        with pytest.raises(ValueError, match=f"{name} is {kind}: only regular files are read"):
            read_image(tmp_path / name)


def test_a_pipe_among_the_frames_of_a_video_is_named(tmp_path):
    video = TinyVideo({1: "plant"}, [("it", 1)], frames=3)
    root = write_tree(tmp_path, {"plant0": video})
    frame = root / INNER / "train" / "JPEGImages" / "plant0" / "00005.jpg"
    frame.unlink()
    os.mkfifo(frame)
    source = MiniRefSource(root, folds_of("mini_ref_ytvos"))
    with pytest.raises(ValueError, match="00005.jpg is a pipe"):
        source.read(ClipSpec("plant0", 1, ("00000", "00005"), "it", "0"))


def test_a_pipe_in_the_place_of_annotations_is_no_file(tmp_path):
    annotations = tmp_path / "instances.json"
    os.mkfifo(annotations)
    with pytest.raises(FileNotFoundError, match=r"file .*instances.json is missing"):
        InstanceSource("mine", annotations, tmp_path)
    write_coco(tmp_path, "val2014", {"a": [(1, [[0, 0, 4, 0, 4, 4]], 0)]})
    (tmp_path / "annotations" / "instances_val2014.json").unlink()
    os.mkfifo(tmp_path / "annotations" / "instances_val2014.json")
    with pytest.raises(FileNotFoundError, match="no COCO under"):
        open_source("coco20i", tmp_path)


@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_a_picture_without_pixels_is_refused(size: tuple[int, int]):
    with pytest.raises(ValueError, match="the input is empty: its shape is"):
        open_media(Image.new("RGB", size))


WRITTEN = {
    "UTF-16": ("plant\n", "utf-16", "is not text in UTF-8 (UTF-16): save it as UTF-8"),
    "Latin-1": ("caf\xe9\n", "latin-1", "is not text in UTF-8 (byte 3 is 0xe9): save it as UTF-8"),
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_text_in_another_encoding_is_refused_wherever_a_list_is_read(kind: str, tmp_path) -> None:
    text, encoding, message = WRITTEN[kind]
    path = tmp_path / "list.txt"
    path.write_bytes((text * 3).encode(encoding))
    write_tree(tmp_path / "set", {"plant0": TinyVideo({1: "plant"}, [("it", 1)])})
    source = MiniRefSource(tmp_path / "set", folds_of("mini_ref_ytvos"))
    readers: list[Callable[[Path], Any]] = [
        read_text,
        read_names,
        read_fss_classes,
        load_json,
        read_sequence_list,
        read_scores,
        lambda path: read_manifest(path, source),
    ]
    for read in readers:
        with pytest.raises(ValueError) as told:
            read(path)
        assert str(told.value) == f"{path} {message}" and is_user_error(told.value)


def test_text_may_have_a_byte_order_mark_and_line_ends_of_any_kind(tmp_path) -> None:
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\n")
    assert read_text(tmp_path / "list.txt") == "one\ntwo\n"


@pytest.mark.parametrize("below", ["", "cache"])
def test_a_file_in_the_place_of_the_cache_is_told(tmp_path, below: str) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(
        ValueError, match=f"data.cache: folder {file / below} cannot be made .*give another data.cache="
    ):
        open_source("synthetic", cache=file / below)
    assert file.read_text() == ""


def test_a_seed_below_zero_of_the_world_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="the seed of the synthetic world must be at least 0, got -5"):
        open_source("synthetic", cache=tmp_path, world_seed=-5)
    assert list(tmp_path.iterdir()) == []
