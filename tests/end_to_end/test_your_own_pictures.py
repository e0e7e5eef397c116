"""What the page on own pictures tells to type works as it stands there."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.masks.png import write_labels, write_mask
from fewshot import predict
from tests.fewshot.inference.saved import tiny
from tests.fewshot.inference.squares import BLUE_SUPPORT, BOTH, RED_SUPPORT, VIDEO
from tests.fewshot.media.test_reading import write_frames, write_video
from tests.shared import require_shared

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "your-own-pictures.md").read_text()
pytestmark = pytest.mark.end_to_end


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with every file that the page names."""
    monkeypatch.chdir(tmp_path)
    for name, (image, mask) in {"cat": RED_SUPPORT, "dog": BLUE_SUPPORT}.items():
        Image.fromarray(image).save(f"{name}.jpg", quality=95)
        write_mask(f"{name}.png", mask)
    write_labels("ids.png", np.where(RED_SUPPORT[1], 2, BLUE_SUPPORT[1]))
    Image.fromarray(BOTH).save("photo.jpg")
    write_frames(tmp_path / "frames", VIDEO[:2])
    write_video(tmp_path / "film.mp4", VIDEO[:2])
    (tmp_path / "photos").mkdir()
    Image.fromarray(BOTH[:, :64]).save("photos/holiday.jpg")
    return tmp_path


def test_the_python_example_runs(place: Path) -> None:
    (example,) = blocks("python")
    tiny("prototype").save_pretrained("runs/NAME")
    names: dict = {}
    exec(example, names)
    assert names["result"].masks.shape == (1, 1, 64, 96) and names["both"]["cat"].shape == (2, 64, 96)
    assert (place / "cat-finder" / "model.safetensors").is_file()


def test_the_commands_run(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    commands, _ = blocks("bash")
    for line in commands.strip().splitlines():
        words = shlex.split(line)
        assert words[:3] == ["python", "-m", "fewshot.predict"]
        needed = {"text=": "cma", "first_mask=": "uniref", "classes=": "univs"}
        name = next((system for word, system in needed.items() if word in line), "prototype")
        tiny(name).save_pretrained("runs/NAME")
        monkeypatch.setattr(sys, "argv", words[2:])
        predict.main()
        assert "written: " in capsys.readouterr().out
    assert (place / "both" / "preview.gif").is_file() and (place / "found" / "preview.png").is_file()


def test_the_start_without_training_runs_with_what_torch_has_in_its_cache(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    weights = require_shared("data", "mobilenet_v2-imagenet", "mobilenet_v2-quant224-fp16.pth")
    cache = place / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    (cache / "mobilenet_v2-b0353104.pth").symlink_to(weights)  # the name of torchvision's file
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(place / "hub"))
    _, command = blocks("bash")
    monkeypatch.setattr(sys, "argv", shlex.split(command.replace("\\\n", " "))[2:])
    predict.main()
    assert "written: start/masks" in capsys.readouterr().out
