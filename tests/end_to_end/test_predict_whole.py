"""`python -m fewshot.predict` on whole videos: names of classes, and masks of the first frame."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import fewshot
from benchmarks.masks.png import read_labels, write_labels
from tests.fewshot.inference.squares import square
from tests.fewshot.inference.test_whole_videos import model_of

pytestmark = pytest.mark.end_to_end
FRAMES = ("input=frames", "video=true")


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of a small UniVS and of a prototype system."""
    folder = tmp_path_factory.mktemp("whole")
    for name in ("univs", "prototype"):
        model_of(name).save_pretrained(folder / name)
    return folder


def test_things_are_followed_as_by_the_interface(call: Any, here: Path, weights: Path) -> None:
    masks = ("first_mask=red=red.png", "first_mask=blue=blue.png")
    code, out, err = call(*FRAMES, *masks, "out=found", system="univs")
    assert code == 0, err
    assert "red: found in" in out and len(list(Path("found/masks").iterdir())) == 3
    expected = fewshot.load(weights / "univs").segment("frames", first_masks={"red": "red.png", "blue": "blue.png"})
    for t in range(3):
        assert np.array_equal(read_labels(f"found/masks/frame_{t}.png"), expected.labels[t].numpy())
    said = json.loads(Path("found/results.json").read_text())
    assert [(thing["label"], thing["name"]) for thing in said["things"]] == [(1, "red"), (2, "blue")]
    assert Image.open("found/preview.gif").n_frames == 3


def test_a_map_of_ids_names_the_things(call: Any, here: Path) -> None:
    write_labels("ids.png", np.where(square(8, 8), 3, np.where(square(40, 60), 5, 0)))
    code, _, err = call(*FRAMES, "first_mask=ids.png", "out=found", system="univs")
    assert code == 0, err
    said = json.loads(Path("found/results.json").read_text())
    assert [thing["name"] for thing in said["things"]] == ["3", "5"]
    assert torch.equal(torch.from_numpy(read_labels("found/masks/frame_0.png") == 2), torch.from_numpy(square(40, 60)))


def test_every_pixel_has_a_class_in_videos_and_photographs(call: Any, here: Path) -> None:
    classes = ("classes=dax", "classes=background")
    for name, words in (("video", FRAMES), ("photographs", ("input=frames",))):
        code, _, err = call(*words, *classes, f"out={name}", system="univs")
        assert code == 0, err
        assert all(read_labels(path).min() > 0 for path in Path(name, "masks").iterdir())


@pytest.mark.parametrize(
    ("arguments", "system", "message"),
    [
        ((*FRAMES, "classes=a", "classes=b"), "prototype", "system 'prototype' takes no classes"),
        ((*FRAMES, "classes=a"), "univs", "give at least two names"),
        ((*FRAMES, "classes=a", "classes=b", "support=red.jpg:red.png"), "univs", "leave support and text away"),
        (
            ("input=frames", "first_mask=red.png"),
            "univs",
            "first_mask is for a video, and input=frames are photographs",
        ),
        ((*FRAMES, "first_mask=red.png", "first_mask=blue.png"), "univs", "write first_mask=name=mask for each"),
        ((*FRAMES, "first_mask=a=red.png", "first_mask=a=blue.png"), "univs", "one mask for a thing"),
        ((*FRAMES, "first_mask=nowhere.png"), "univs", "no mask at nowhere.png"),
    ],
)
def test_what_cannot_be_asked_is_told_in_a_line(
    call: Any, here: Path, arguments: tuple[str, ...], system: str, message: str
) -> None:
    code, _, err = call(*arguments, "out=found", system=system)
    assert code == 1 and message in err and err.count("\n") == 1 and not Path("found").exists()
