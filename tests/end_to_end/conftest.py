"""`python -m fewshot.predict` called within a test, in a folder with pictures."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.masks.png import write_mask
from fewshot import predict
from tests.fewshot.inference.saved import tiny
from tests.fewshot.inference.squares import BLUE_SUPPORT, BOTH, RED_SUPPORT, VIDEO
from tests.fewshot.media.test_reading import write_frames

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders with a tiny prototype system and a tiny CMA."""
    folder = tmp_path_factory.mktemp("weights")
    for name in ("prototype", "cma"):
        tiny(name).save_pretrained(folder / name)
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with pictures, masks and frames."""
    monkeypatch.chdir(tmp_path)
    for name, (image, mask) in {"red": RED_SUPPORT, "blue": BLUE_SUPPORT}.items():
        Image.fromarray(image).save(f"{name}.jpg", quality=95)
        write_mask(f"{name}.png", mask)
    Image.fromarray(BOTH).save("photo.jpg", quality=95)
    write_frames(tmp_path / "frames", VIDEO[:3])
    return tmp_path


@pytest.fixture
def call(here: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Call:
    """Run the command in that folder: (exit code, stdout, stderr). `system` None: no weights are given."""

    def run(*arguments: str, system: str | None = "prototype") -> tuple[int, str, str]:
        given = [] if system is None else [f"weights={weights / system}"]
        monkeypatch.setattr(sys, "argv", ["predict", *given, *arguments])
        code = 0
        try:
            predict.main()
        except SystemExit as end:
            code = int(end.code or 0)
        out = capsys.readouterr()
        return code, out.out, out.err

    return run
