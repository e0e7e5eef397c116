"""`python -m fewshot.check`: what is told of a data set on disk, and the exit code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.commands import typed
from tests.episodes.image_tree import blocks, write_mask, write_voc
from tests.episodes.videos import write_davis

IMAGES = {"a": [1], "b": [1], "c": [1, 2], "d": [2], "e": [1, 2], "f": [2]}


def checked(capsys: pytest.CaptureFixture, *words: str) -> tuple[int, str, str]:
    code = typed("check", words)
    out, err = capsys.readouterr()
    return code, out, err


def test_a_sound_data_set(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    base = write_voc(tmp_path, IMAGES, val=["e", "f"])
    for k, path in enumerate(sorted((base / "JPEGImages").iterdir())):
        Image.fromarray(np.full((12, 16, 3), 20 * k, np.uint8)).save(path)
    sheet = tmp_path / "sheet.png"
    words = ("benchmark=pascal5i", f"data.root={tmp_path}", "protocol=uniref", f"out={sheet}", "shots=1")
    code, out, err = checked(capsys, *words)
    assert (code, err) == (0, "")
    assert "broken: nothing" in out and "no known one; PASCAL VOC 2012 without SBD" in out
    assert "4 training images, 2 test images, 2 classes" in out and "read whole   : 6 of 6" in out
    rows = [line.split() for line in out.splitlines()]
    assert ["0", "1", "1", "of", "5", "0"] not in rows  # one test image of a class has no support
    with Image.open(sheet) as image:
        assert image.width > 2 * 120
    assert typed("check", [*words, "limit=2"]) == 0 and "read whole   : 2 of 6" in capsys.readouterr().out


def test_what_is_broken_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    base = write_voc(tmp_path, IMAGES, val=["e", "f"])
    pictures, masks = base / "JPEGImages", base / "SegmentationClassAug"
    (pictures / "a.jpg").write_bytes((pictures / "a.jpg").read_bytes()[:300])
    (pictures / "f.jpg").unlink()
    write_mask(masks / "b.png", blocks([1])[:6])
    write_mask(masks / "c.png", blocks([77]))
    (masks / "d.png").write_bytes(b"no picture")
    code, out, _ = checked(capsys, "benchmark=pascal5i", f"data.root={tmp_path}", f"out={tmp_path / 'sheet.png'}")
    assert code == 1
    for said in ("a.jpg cannot be read", "b.png is 6x16, but its image is 12x16", "c.png has the value 77", "d.png"):
        assert said in out.replace("\n", " ")
    assert out.count("f.jpg") == 1 and "Traceback" not in out


def test_a_task_is_checked_by_its_split(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    root = write_davis(tmp_path / "DAVIS")
    (root / "ImageSets/2017/train.txt").write_text("unlisted\n")
    for split, videos in (("val", 2), ("train", 1)):
        sheet = tmp_path / f"{split}.png"
        code, out, _ = checked(capsys, "task=davis17", f"data.root={root}", f"split={split}", f"out={sheet}")
        assert code == 0 and f"data set     : davis17 {split}" in out and f"{videos} videos" in out
        assert sheet.is_file() and "folds" not in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give the data set, either benchmark=<name> or task=<name>"),
        (("benchmark=pascal5i", "task=davis17"), "give the data set, either"),
        (("benchmark=pascal5i",), "data.root is not set"),
        (("task=davis17", "split=valid", "data.root=x"), "split=valid: davis17 has no such split; there are: val,"),
        (("benchmark=synthetic", "split=val"), "it has folds: leave split away"),
        (("task=davis17", "data.root=/nowhere"), "/nowhere"),
        (("benchmark=pascal"), "benchmark=pascal: valid are"),
        (
            ("benchmark=synthetic", "shots=[1,3]"),
            "shots=[1,3]: give a whole number from 1 to 1,000, and shots=... again for another",
        ),
    ],
)
def test_what_cannot_be_checked_is_said(words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture) -> None:
    words = (words,) if isinstance(words, str) else words
    code, _, err = checked(capsys, *words)
    assert code == 1 and err.startswith("error: ") and said in err and err.count("\n") == 1


def test_a_file_of_something_else_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    own = tmp_path / "photo.png"
    Image.new("RGB", (4, 4)).save(own)
    before = own.read_bytes()
    words = ("task=davis17", f"data.root={write_davis(tmp_path / 'DAVIS')}")
    code, _, err = checked(capsys, *words, f"out={own}")
    assert code == 1 and "is no contact sheet that this program wrote" in err and own.read_bytes() == before
    for _ in range(2):  # its own is
        assert checked(capsys, *words, f"out={tmp_path / 'sheet.png'}")[0] == 0
