"""`python -m fewshot.predict` as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.masks.png import read_labels, write_labels, write_mask
from fewshot import predict
from fewshot.config.keys import schema_keys
from tests.fewshot.inference.squares import BOTH, VIDEO
from tests.fewshot.media.test_reading import write_video
from tests.learn2learn import require_learn2learn

pytestmark = pytest.mark.end_to_end


def results(folder: str) -> dict:
    return json.loads(Path(folder, "results.json").read_text())


def test_an_image_with_one_support(call) -> None:
    code, out, err = call("input=photo.jpg", "support=red.jpg:red.png", "out=found")
    assert code == 0, err
    assert "object: found in 1 of 1 frame(s), mean score" in out and "written: found/masks" in out
    mask = read_labels("found/masks/photo.png")
    assert mask.shape == BOTH.shape[:2] and set(np.unique(mask)) <= {0, 255}
    assert Image.open("found/overlays/photo.jpg").size == (96, 64)
    assert Image.open("found/preview.png").width > 500  # support, input and what was found
    said = results("found")
    assert said["things"][0]["supports"] == ["red.jpg"]
    (frame,) = said["frames"]
    assert frame == {
        "frame": "photo",
        "size": [64, 96],
        "network_size": [32, 48],
        "scores": frame["scores"],
        "pixels": {"object": int((mask > 0).sum())},
    }


def test_several_classes_in_a_folder_of_frames(call) -> None:
    supports = ("support=red=red.jpg:red.png", "support=blue=blue.jpg:blue.png")
    code, _, err = call("input=frames", "video=true", *supports, "out=found", "preview=webp", "chunk=2", "size=48")
    assert code == 0, err
    names = [f"frame_{t}.png" for t in range(3)]
    assert sorted(p.name for p in Path("found/masks").iterdir()) == names
    assert all(Image.open(f"found/masks/{name}").mode == "P" for name in names)
    said = results("found")
    assert [(t["label"], t["name"]) for t in said["things"]] == [(1, "red"), (2, "blue")]
    assert [set(f["pixels"]) for f in said["frames"]] == [{"red", "blue"}] * 3
    assert said["frames"][0]["network_size"] == [48, 72]
    assert Image.open("found/preview.webp").n_frames == 3


def test_a_video_file(call, here: Path) -> None:
    write_video(here / "film.mp4", VIDEO[:4])
    code, _, err = call("input=film.mp4", "support=red.jpg:red.png", "out=found")
    assert code == 0, err
    assert len(list(Path("found/masks").iterdir())) == 4
    preview = Image.open("found/preview.gif")
    assert preview.n_frames == 4 and preview.info["duration"] == 200
    write_video(here / "one.mp4", VIDEO[:1])
    code, _, err = call("input=one.mp4", "support=red.jpg:red.png", "out=one", "preview=none")
    assert code == 0, err
    assert results("one")["preview"] is None and [f["frame"] for f in results("one")["frames"]] == ["00000"]


def test_words_beside_the_supports(call) -> None:
    code, _, err = call(
        "input=photo.jpg", "support=red.jpg:red.png", "text=the red one", "text=the blue one", "out=found", system="cma"
    )
    assert code == 0, err
    assert [(t["name"], t["text"]) for t in results("found")["things"]] == [
        (x, x) for x in ("the red one", "the blue one")
    ]
    words = ("text=a=the red one", "text=b=the blue one")
    supports = ("support=a=red.jpg:red.png", "support=b=blue.jpg:blue.png")
    code, _, err = call("input=photo.jpg", *supports, *words, "out=classes", system="cma")
    assert code == 0, err
    assert [t["text"] for t in results("classes")["things"]] == ["the red one", "the blue one"]


def test_the_shell_gives_what_the_interface_gives(call, weights: Path) -> None:
    import fewshot

    code, _, err = call("input=frames", "video=true", "support=red.jpg:red.png", "out=found", "chunk=2")
    assert code == 0, err
    expected = fewshot.load(weights / "prototype").segment("frames", support=[("red.jpg", "red.png")], chunk=2)
    for t in range(3):
        found = torch.from_numpy(read_labels(f"found/masks/frame_{t}.png") > 0)
        assert torch.equal(found, expected["object"][t])


def test_nothing_is_written_over_without_being_told(call) -> None:
    arguments = ("input=frames", "support=red.jpg:red.png", "out=found")
    assert call(*arguments)[0] == 0
    code, _, err = call(*arguments)
    assert code == 1 and "out=found is not empty: give another folder, or overwrite=true" in err
    Path("found/mine.txt").touch()
    code, _, err = call("input=photo.jpg", "support=red.jpg:red.png", "out=found", "overwrite=true")
    assert code == 0, err
    written = sorted(str(p.relative_to("found")) for p in Path("found").rglob("*") if p.is_file())
    assert written == ["masks/photo.png", "mine.txt", "overlays/photo.jpg", "preview.png", "results.json"]
    code, _, err = call("input=photo.jpg", "support=red.jpg:red.png", "out=frames", "overwrite=true")
    assert code == 1 and "holds files that fewshot.predict did not write" in err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("input=photo.jpg",), "system 'prototype' needs supports (images with masks): give support=..."),
        (("input=photo.jpg", "support=red.jpg:red.png", "text=red"), "system 'prototype' takes no text"),
        (("input=photo.jpg", "support=red.jpg"), "support=red.jpg has no mask: write support=image:mask"),
        (("input=photo.jpg", "support=red.jpg:nowhere.png"), "no mask at nowhere.png"),
        (("input=photo.jpg", "support=nowhere.jpg:red.png"), "no file or folder at nowhere.jpg"),
        (("input=photo.jpg", "support=red.jpg:small.png"), "support 1 (red.jpg) is 96x64, its mask 10x10"),
        (("input=photo.jpg", "support=red.jpg:empty.png"), "support 1 (red.jpg): its mask is empty"),
        (("input=photo.jpg", "support=a=red.jpg:red.png", "support=b=red.jpg:empty.png"), "support 1 of class 'b'"),
        (("input=photo.jpg", "support=red.jpg:odd.png"), "odd.png holds the values 0, 1, 2: a mask is bool"),
        (("input=photo.jpg", "support=red.jpg:ids.png"), "ids.png holds several objects, the ids 1, 2"),
        (("input=photo.jpg", "support=red.jpg:ids.png#3"), "ids.png has no pixel of id 3"),
        (("input=photo.jpg", "support=frames:red.png"), "support 1 (frames): 3 image(s) but 1 mask(s)"),
        (("input=broken.jpg", "support=red.jpg:red.png"), "broken.jpg cannot be read as an image"),
        (("input=nowhere.jpg", "support=red.jpg:red.png"), "no file or folder at nowhere.jpg"),
        (("input=words", "support=red.jpg:red.png"), "words holds no images"),
        (("input=photo.jpg", "support=a=red.jpg:red.png", "support=red.jpg:red.png"), "names no class, but others do"),
        (("input=photo.jpg", "suport=red.jpg:red.png"), "unknown key 'suport'. Did you mean 'support'?"),
        (("support=red.jpg:red.png",), "missing: input=…"),
        (("input=photo.jpg", "input=red.jpg"), "input is given twice"),
        (("input=photo.jpg", "photo.jpg"), "expected key=value, got 'photo.jpg'"),
        (("input=photo.jpg", "size=big"), "size=big: give a whole number from 8 to 8,192"),
        (("input=photo.jpg", "min_score=2"), "min_score=2.0: the largest valid value is 1"),
        (("input=photo.jpg", "preview=mp4"), "preview=mp4: valid are gif, webp, none"),
        (("input=photo.jpg", "device=tpu"), "device=tpu: valid are auto, cpu"),
        (("input=photo.jpg", "text=a=one", "text=a=two"), "text=a=... is given 2 times"),
    ],
)
def test_mistakes_end_with_one_line_and_nothing_written(call, arguments: tuple[str, ...], message: str) -> None:
    write_mask("small.png", np.ones((10, 10)))
    write_mask("empty.png", np.zeros((64, 96)))
    labels = np.zeros((64, 96), np.uint8)
    labels[0, 0], labels[0, 1] = 1, 2
    Image.fromarray(labels).save("odd.png")
    write_labels("ids.png", labels)
    Path("broken.jpg").write_text("no photo")
    Path("words").mkdir()
    Path("words/notes.txt").touch()
    complete = any("support=" in a for a in arguments) or arguments == ("input=photo.jpg",)
    support = () if complete else ("support=red.jpg:red.png",)
    code, _, err = call(*arguments, *support, "out=found")
    assert code == 1 and message in err, err
    assert "Traceback" not in err and len(err.strip().splitlines()) == 1
    assert not Path("found").exists()


def test_a_long_expression_is_cut_with_a_warning(call) -> None:
    text = " ".join(f"word{k}" for k in range(64))
    with pytest.warns(UserWarning, match="these words are cut: 'word62 word63'"):
        code, _, err = call("input=photo.jpg", "support=red.jpg:red.png", f"text={text}", "out=found", system="cma")
    assert code == 0, err


def test_the_module_runs_and_helps() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fewshot.predict", "--help"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and done.stderr == ""
    keys = [key.name for key in schema_keys(predict.PredictConfig)]
    assert len(keys) == 19 and all(f"\n  {key}=" in done.stdout for key in keys)
    assert "support=cat=a.jpg:a.png" in done.stdout


def test_the_weights_take_steps_on_the_supports_where_it_is_asked_for(call) -> None:
    require_learn2learn()
    asked = ("input=photo.jpg", "support=red.jpg:red.png", 'text="the dax"')
    assert call(*asked, "out=plain", system="cma")[0] == 0 and results("plain")["adaptation"] is None
    code, _, err = call(
        *asked, "out=found", "adaptation=finetune", "adaptation.steps=2", "adaptation.rates=[0.5]", system="cma"
    )
    assert code == 0, err
    said = results("found")["adaptation"]
    assert (said["name"], said["steps"], said["rates"]) == ("finetune", 2, [0.5])
    assert results("found")["frames"][0]["scores"] != results("plain")["frames"][0]["scores"]
    code, _, err = call(*asked, "out=other", "adaptation.steps=2", system="cma")
    assert code == 1 and "the weights were trained without an adaptation; add adaptation=<name>" in err
    assert len(err.strip().splitlines()) == 1 and not Path("other").exists()
    code, _, err = call(*asked[:2], "out=other", "adaptation=finetune")
    assert code == 1 and "adaptation.parts=all: no parameter of system prototype that learns lies there" in err
