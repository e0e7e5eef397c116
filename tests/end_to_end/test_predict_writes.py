"""What `fewshot.predict` writes over, and what it leaves alone."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fewshot.inference import predict as prediction

pytestmark = pytest.mark.end_to_end
PHOTO = ("input=photo.jpg", "support=red.jpg:red.png", "out=found")


def files(folder: str) -> dict[str, bytes]:
    """Every file below a folder with what it holds."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


def change_results(**changes: Any) -> None:
    """Put other entries into the results of an earlier call."""
    path = Path("found/results.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def one_line(code: int, err: str, message: str) -> None:
    assert code == 1 and message in err, err
    assert "Traceback" not in err and len(err.strip().splitlines()) == 1


NAMES = {"above": "../precious", "absolute": "{here}/precious", "dots": "..", "deep": "a/b", "none": "", "number": 5}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_names_that_lead_elsewhere_are_refused_and_nothing_is_deleted(call, here: Path, name: Any) -> None:
    assert call(*PHOTO)[0] == 0
    (here / "precious.png").write_text("not to be deleted")
    frame = name.format(here=here) if isinstance(name, str) else name
    change_results(frames=[{"frame": frame, "pixels": {}, "scores": {}}])
    before = files(".")
    code, _, err = call(*PHOTO, "overwrite=true")
    one_line(code, err, "was not written by fewshot.predict")
    assert files(".") == before


@pytest.mark.parametrize("preview", ["../photo.jpg", "mine.txt", 3])
def test_a_preview_of_another_name_is_refused(call, preview: Any) -> None:
    assert call(*PHOTO)[0] == 0
    Path("found/mine.txt").write_text("mine")
    change_results(preview=preview)
    one_line(*call(*PHOTO, "overwrite=true")[::2], "was not written by fewshot.predict, or is damaged")
    assert Path("photo.jpg").exists() and Path("found/mine.txt").exists()


@pytest.mark.parametrize("text", ['{"program": "fewshot.meta_test"}', "[]", "{half", "\xff", "null", '{"frames": 3}'])
def test_results_of_another_program_are_refused(call, text: str) -> None:
    Path("found").mkdir()
    Path("found/results.json").write_bytes(text.encode("latin-1"))
    one_line(*call(*PHOTO, "overwrite=true")[::2], "found/results.json was not written by fewshot.predict")
    assert files("found") == {"results.json": text.encode("latin-1")}


@pytest.mark.parametrize("place", ["masks/mine.png", "overlays/photo.jpeg", "preview.gif"])
def test_files_that_no_results_list_are_not_written_over(call, place: str) -> None:
    assert call(*PHOTO)[0] == 0
    Path("found", place).write_text("mine")
    before = files("found")
    one_line(*call(*PHOTO, "overwrite=true")[::2], f"found/{place} was not written by fewshot.predict")
    assert files("found") == before


def test_a_folder_of_masks_that_is_a_link_is_not_followed(call, here: Path) -> None:
    assert call(*PHOTO)[0] == 0
    (here / "found" / "masks").rename(here / "elsewhere")
    (here / "found" / "masks").symlink_to(here / "elsewhere")
    one_line(*call(*PHOTO, "overwrite=true")[::2], "found/masks was not written by fewshot.predict")
    assert (here / "elsewhere" / "photo.png").exists()


def test_a_call_that_fails_leaves_the_earlier_results_as_they_were(call, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call(*PHOTO)[0] == 0
    before = files("found")

    def fail(*_: Any) -> None:
        raise ValueError("the disk is on holiday")

    monkeypatch.setattr(prediction, "write_account", fail)
    code, _, err = call("input=frames", "video=true", "support=red.jpg:red.png", "out=found", "overwrite=true")
    assert code == 1 and files("found") == before
    call("input=frames", "video=true", "support=red.jpg:red.png", "out=new/found")
    assert not Path("new/found").exists() and not list(Path("new").iterdir())


def test_a_folder_is_written_over_whole(call) -> None:
    assert call("input=frames", "video=true", "support=red.jpg:red.png", "out=found")[0] == 0
    Path("found/mine.txt").write_text("mine")
    assert call(*PHOTO, "overwrite=true")[0] == 0
    assert set(files("found")) == {"masks/photo.png", "mine.txt", "overlays/photo.jpg", "preview.png", "results.json"}
    assert not [name for name in os.listdir("found") if name.startswith(".")]
    assert call("input=frames", "video=true", "support=red.jpg:red.png", "out=found", "overwrite=true")[0] == 0
    assert len(files("found")) == 9 and "masks/photo.png" not in files("found")


@pytest.mark.parametrize("words", [("input=found/masks/photo.png",), ("input=found", "support=red.jpg:red.png")])
def test_reading_from_the_folder_that_is_written_is_refused(call, words: tuple[str, ...]) -> None:
    assert call(*PHOTO)[0] == 0
    before = files("found")
    one_line(*call(*words, *PHOTO[len(words) :], "overwrite=true")[::2], "lies inside out=found, which is written over")
    code, _, err = call("input=photo.jpg", "support=photo.jpg:found/masks/photo.png", "out=found", "overwrite=true")
    one_line(code, err, "support=found/masks/photo.png lies inside out=found")
    assert files("found") == before


def test_an_out_that_cannot_be_written_is_told_in_a_line(call) -> None:
    Path("dangling").symlink_to("nowhere")
    one_line(*call(*PHOTO[:2], "out=dangling")[::2], "out=dangling is a link to nowhere, which does not exist")
    one_line(*call(*PHOTO[:2], "out=photo.jpg/found")[::2], "out=photo.jpg/found cannot be written (Not a directory)")
    one_line(*call(*PHOTO[:2], f"out={'x' * 300}")[::2], "File name too long")


def test_names_that_are_not_utf8_are_refused_before_anything_is_segmented(call) -> None:
    name = os.fsdecode(b"f\xff.jpg")
    os.rename("photo.jpg", name)
    for words in ((f"input={name}", "support=red.jpg:red.png"), ("input=many", "support=red.jpg:red.png")):
        if words[0] == "input=many":
            Path("many").mkdir()
            os.rename(name, f"many/{name}")
        one_line(*call(*words, "out=found")[::2], "is not UTF-8")
        assert not Path("found").exists()


def test_pictures_of_absurd_shapes_and_sizes_end_in_a_line(call, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(np.zeros((1, 20000, 3), np.uint8)).save("thin.png")
    code, _, err = call("input=thin.png", "support=red.jpg:red.png", "out=found")
    one_line(code, err, "the input is 20000x1 (width x height), and the network would see it at 640000x32: crop it")
    Image.fromarray(np.ones((1, 20000), np.uint8) * 255).save("thin_mask.png")
    code, _, err = call("input=photo.jpg", "support=thin.png:thin_mask.png", "out=found")
    one_line(code, err, "the support thin.png is 20000x1")
    Image.fromarray(np.zeros((3000, 32, 3), np.uint8)).save("long.png")  # no strip yet, and drawn
    code, _, err = call("input=long.png", "support=red.jpg:red.png", "out=long")
    assert code == 0, err
    with Image.open("long/preview.png") as picture:
        assert max(picture.size) < 2000
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    one_line(*call("input=photo.jpg", "support=red.jpg:red.png", "out=bomb")[::2], "photo.jpg is too large")
