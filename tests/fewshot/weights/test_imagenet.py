"""ImageNet weights by name: from torch's cache or fetched, and one line where there is no network."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.error import URLError

import pytest
import torch

from fewshot.systems.prototype.config import PrototypeConfig
from fewshot.systems.registry import build_system
from fewshot.weights.imagenet import imagenet_file
from tests.shared import require_shared

NAME = "mobilenet_v2-b0353104.pth"  # of torchvision


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no network."""

    def offline(url: str, *_: object, **__: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    return tmp_path / "hub" / "checkpoints"


def test_without_a_network_one_line_says_what_to_do() -> None:
    with pytest.raises(OSError) as refused:
        build_system(PrototypeConfig(backbone="mobilenet_v2", backbone_weights="imagenet"))
    said = str(refused.value)
    assert f"https://download.pytorch.org/models/{NAME} cannot be fetched" in said and "\n" not in said
    assert said.endswith(f"system.backbone_weights=<folder>/{NAME}")


def test_a_backbone_without_published_weights_is_refused() -> None:
    with pytest.raises(ValueError, match="such weights of mobilenet_v2, resnet50, resnet101, not of tiny"):
        imagenet_file("tiny")


def test_what_is_in_the_cache_is_used_and_what_is_not_is_fetched_once(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = require_shared("data", "mobilenet_v2-imagenet", "mobilenet_v2-quant224-fp16.pth")
    fetched = []

    def fetch(url: str, path: str, checksum: str, progress: bool) -> None:
        fetched.append((url.rpartition("/")[2], checksum))
        shutil.copy(real, path)

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    settings = PrototypeConfig(backbone="mobilenet_v2", backbone_weights="imagenet")
    first, second = build_system(settings), build_system(settings)
    assert fetched == [(NAME, "b0353104")] and (cache / NAME).is_file()
    direct = build_system(PrototypeConfig(backbone="mobilenet_v2", backbone_weights=str(real)))
    for system in (first, second):
        assert all(torch.equal(a, b) for a, b in zip(system.parameters(), direct.parameters(), strict=True))
