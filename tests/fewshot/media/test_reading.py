"""Own images and videos from whatever holds them, and what is said of those that cannot be read."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fewshot.media.reading import open_media
from tests.shared import require_shared

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 12, 16, 3), dtype=np.uint8)


def write_video(path: Path, frames: np.ndarray = PIXELS) -> Path:
    """A video file without loss, 5 frames a second."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264rgb", rate=Fraction(5))
        stream.width, stream.height, stream.pix_fmt, stream.options = (
            frames.shape[2],
            frames.shape[1],
            "rgb24",
            {"crf": "0"},
        )
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def write_frames(folder: Path, frames: np.ndarray = PIXELS, name: str = "frame_{}.png") -> Path:
    folder.mkdir(parents=True)
    for k, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / name.format(k))
    return folder


def test_an_image_is_the_same_in_every_form(tmp_path: Path) -> None:
    image = PIXELS[0]
    Image.fromarray(image).save(tmp_path / "cat.png")
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    for source in (
        image,
        tensor,
        tensor / 255,
        Image.fromarray(image),
        tmp_path / "cat.png",
        str(tmp_path / "cat.png"),
    ):
        media = open_media(source)
        assert media.still and media.length == 1 and media.size == (12, 16)
        assert torch.equal(media.frames(), tensor[None])
    assert media.frame_name(0) == "cat"


def test_a_video_is_the_same_in_every_form(tmp_path: Path) -> None:
    frames = torch.from_numpy(PIXELS).permute(0, 3, 1, 2)
    folder, film = write_frames(tmp_path / "frames"), write_video(tmp_path / "film.mp4")
    for source in (PIXELS, frames, frames.double() / 255, folder, film):
        media = open_media(source)
        assert not media.still and media.length == 5 and media.size == (12, 16)
        assert torch.equal(media.frames(), frames)
        assert [len(chunk) for _, chunk in media.chunks(2)] == [2, 2, 1]
    assert media.frames_per_second == 5.0


def test_frames_are_read_a_few_at_a_time_and_again(tmp_path: Path) -> None:
    media = open_media(write_frames(tmp_path / "frames"))
    (tmp_path / "frames" / "frame_4.png").write_bytes(b"not an image")
    chunks = media.chunks(2)
    assert next(chunks)[0] == ("frame_0", "frame_1")
    assert torch.equal(next(media.chunks(1))[1][0], torch.from_numpy(PIXELS[0]).permute(2, 0, 1))
    with pytest.raises(ValueError, match="frame_4.png cannot be read as an image"):
        list(chunks)


def test_frames_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "frames", np.zeros((11, 4, 4, 3), np.uint8))
    (folder / "notes.txt").touch()
    (folder / ".hidden.png").touch()
    assert open_media(folder).frame_names == tuple(f"frame_{k}" for k in range(11))


def test_an_animated_gif_is_a_video_and_a_video_of_one_frame_is_one(tmp_path: Path) -> None:
    pictures = [Image.fromarray(frame) for frame in PIXELS[:3]]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=200)
    media = open_media(tmp_path / "a.gif")
    assert (media.length, media.still, media.frames_per_second) == (3, False, 5.0)
    assert media.frames().shape == (3, 3, 12, 16)
    for source in (
        PIXELS[:1],
        write_frames(tmp_path / "one", PIXELS[:1]),
        write_video(tmp_path / "one.mp4", PIXELS[:1]),
    ):
        media = open_media(source)
        assert not media.still and media.frames().shape == (1, 3, 12, 16)


def test_photos_are_turned_as_their_camera_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn clockwise to see it
    Image.fromarray(PIXELS[0]).save(tmp_path / "photo.png", exif=exif)
    shown = open_media(tmp_path / "photo.png").frames()[0].permute(1, 2, 0).numpy()
    assert np.array_equal(shown, np.rot90(PIXELS[0], -1))


def test_videos_are_turned_as_their_camera_says(tmp_path: Path) -> None:
    film = write_video(tmp_path / "film.mp4")
    content = bytearray(film.read_bytes())
    matrix = content.index(b"tkhd") + 44
    clockwise = [0, 1 << 16, 0, -1 << 16, 0, 0, 12 << 16, 0, 1 << 30]
    content[matrix : matrix + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in clockwise)
    film.write_bytes(content)
    shown = open_media(film).frames().permute(0, 2, 3, 1).numpy()
    assert np.array_equal(shown, np.rot90(PIXELS, -1, axes=(1, 2)))


@pytest.mark.parametrize(
    "source, message",
    [
        (PIXELS[0, :, :, 0], r"array \(12, 16\): give RGB"),
        (PIXELS[0].astype(np.float32), "array of float32: give uint8"),
        (np.zeros((4, 4, 4), np.uint8), r"array \(4, 4, 4\): give RGB"),
        (np.zeros((0, 4, 4, 3), np.uint8), r"is empty: its shape is \(0, 4, 4, 3\)"),
        (torch.zeros(4, 4, 3, dtype=torch.uint8), r"tensor \(4, 4, 3\): give RGB, \(3, H, W\)"),
        (torch.full((3, 4, 4), -2.0), r"in -2..-2: give uint8, or floats in 0..1 that have not been normalised"),
        (torch.full((3, 4, 4), float("nan")), "in nan..nan: give uint8"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), "tensor of torch.int64"),
        (Image.new("I;16", (4, 4)), "mode 'I;16', more than 8 bits"),
    ],
)
def test_what_is_no_image_is_refused(source: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^my picture.*{message}"):
        open_media(source, "my picture")


def test_other_things_are_refused() -> None:
    with pytest.raises(TypeError, match=r"the input is a list: give an array .*stack the frames of a video"):
        open_media(list(PIXELS))
    with pytest.raises(TypeError, match="the input is a NoneType: give an array"):
        open_media(None)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no file or folder at .*nowhere.jpg"):
        open_media(tmp_path / "nowhere.jpg")
    (tmp_path / "notes.jpg").write_text("this is not a photo")
    with pytest.raises(ValueError, match="notes.jpg cannot be read as an image"):
        open_media(tmp_path / "notes.jpg")
    Image.fromarray(PIXELS[0]).save(tmp_path / "half.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "half.png").read_bytes()[:200])
    with pytest.raises(ValueError, match="half.png cannot be read as an image"):
        open_media(tmp_path / "half.png")


def test_folders_that_hold_no_video_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty holds no images \(.jpg.*but no files"):
        open_media(tmp_path / "empty")
    (tmp_path / "empty" / "notes.txt").touch()
    with pytest.raises(ValueError, match="but 1 other files"):
        open_media(tmp_path / "empty")
    folder = write_frames(tmp_path / "sizes", PIXELS[:2])
    Image.fromarray(PIXELS[0, :, :8]).save(folder / "frame_2.png")
    with pytest.raises(ValueError, match=r"frame frame_2 is 8x12, the first is 16x12"):
        open_media(folder).frames()
    folder = write_frames(tmp_path / "mixed", PIXELS[:1], "dog.png")
    Image.fromarray(PIXELS[0]).save(folder / "dog.jpg")
    with pytest.raises(ValueError, match="holds dog.jpg and dog.png: which of them is the frame"):
        open_media(folder)


def test_broken_videos_are_named(tmp_path: Path) -> None:
    pytest.importorskip("av")
    (tmp_path / "film.mp4").write_bytes(b"no film" * 20)
    with pytest.raises(ValueError, match="film.mp4 cannot be read as a video at its start.*get the file again"):
        open_media(tmp_path / "film.mp4")
    (tmp_path / "nothing.mp4").touch()
    with pytest.raises(ValueError, match="nothing.mp4 cannot be read as a video at its start"):
        open_media(tmp_path / "nothing.mp4")


def test_without_pyav_the_remedy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "film.mp4").touch()
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ValueError, match=r"film.mp4 is a video file.*pip install 'fewshot-segmentation\[video\]'"):
        open_media(tmp_path / "film.mp4")


def test_real_frames_are_read() -> None:
    media = open_media(require_shared("data", "cutie-demo", "images", "judo"))
    assert media.length == 16 and media.size == (480, 854) and media.frame_name(15) == "00015"
    names, frames = next(media.chunks(3))
    assert names == ("00000", "00001", "00002") and frames.shape == (3, 3, 480, 854)
    assert 20 < frames.float().mean() < 235
