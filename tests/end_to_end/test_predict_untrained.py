"""A start without any training: `system=prototype` on an ImageNet backbone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.masks.png import read_labels
from tests.shared import require_shared

pytestmark = pytest.mark.end_to_end
PHOTO = ("input=photo.jpg", "support=red.jpg:red.png", "out=found")
PROTOTYPE = ("system=prototype", "system.backbone=mobilenet_v2")


def test_the_documented_line_segments_a_real_photograph(call) -> None:
    weights = require_shared("data", "mobilenet_v2-imagenet", "mobilenet_v2-quant224-fp16.pth")
    root = require_shared("data", "voc2012-subset", "VOCdevkit", "VOC2012")
    masks = root / "SegmentationClass"
    support, query = "2007_000042", "2007_000068"
    names = sorted(path.stem for path in masks.glob("*.png"))
    assert names
    support, query = _two_of_one_class(masks, names)
    code, out, err = call(
        *PROTOTYPE,
        f"system.backbone_weights={weights}",
        f"input={root / 'JPEGImages' / f'{query}.jpg'}",
        f"support={root / 'JPEGImages' / f'{support}.jpg'}:{masks / f'{support}.png'}#12",
        "size=192",
        "out=found",
        system=None,
    )
    assert code == 0, err
    said = json.loads(Path("found/results.json").read_text())
    assert said["weights"] is None and said["settings"]["backbone_weights"] == str(weights)
    found, truth = read_labels(f"found/masks/{query}.png") > 0, np.asarray(Image.open(masks / f"{query}.png")) == 12
    iou = (found & truth).sum() / (found | truth).sum()
    assert iou > truth.mean()  # better than calling everything a dog


def _two_of_one_class(masks: Path, names: list[str]) -> tuple[str, str]:
    """The first two images that show a dog (12) of some size and nothing else."""
    found = []
    for name in names:
        labels = np.asarray(Image.open(masks / f"{name}.png"))
        if set(np.unique(labels)) <= {0, 12, 255} and 0.1 < (labels == 12).mean() < 0.5:
            found.append(name)
        if len(found) == 2:
            return found[0], found[1]
    raise AssertionError("no two images of dogs")


@pytest.mark.parametrize(
    "words, message",
    [
        (PROTOTYPE, "system prototype without training needs an image encoder that has learnt something"),
        (("system=cma",), "system cma needs training: give weights=..., or system=prototype"),
        (("system=prototype", "system.backbone=vgg"), "system.backbone=vgg: valid are resnet50"),
        (("system=prototype", "system.heads=8"), "unknown key 'system.heads'"),
        (("system=protoype",), "system=protoype: valid are cma, cma_tiny, prototype, "),
        ((), "give one of weights=... (a trained model) and system=..."),
        ((*PROTOTYPE, "weights=somewhere"), "give one of weights=..."),
        ((*PROTOTYPE, "system.backbone_weights=nowhere.pth"), "no backbone weights at nowhere.pth"),
    ],
)
def test_what_cannot_work_is_told_in_a_line(call, words: tuple[str, ...], message: str) -> None:
    code, _, err = call(*words, *PHOTO, system=None)
    assert code == 1 and message in err, err
    assert "Traceback" not in err and len(err.strip().splitlines()) == 1
    assert not Path("found").exists()
