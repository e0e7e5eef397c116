"""Names on the Hugging Face Hub: which are asked for, and what is said when nothing comes."""

from __future__ import annotations

from pathlib import Path

import pytest

import fewshot
from fewshot.systems.prototype.model import Prototype
from fewshot.weights import hub
from fewshot.weights.hub import download, is_hub_name
from tests.fewshot.inference.saved import tiny


def test_only_names_of_the_hub_are_asked_for_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert is_hub_name("user/name")
    for name in ("runs/name", "name", "a/b/c", "/user/name", "./name", "~/name", "../name", Path("user/name")):
        assert not is_hub_name(name), name
    asked = []
    monkeypatch.setattr(hub, "snapshot_download", lambda name, **options: asked.append(name) or 1 / 0)
    with pytest.raises(FileNotFoundError, match="no weights at runs/name"):
        fewshot.load("runs/name")
    assert not asked
    with pytest.raises(ZeroDivisionError):
        fewshot.load("user/name")
    assert asked == ["user/name"]


def test_what_the_hub_gives_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny("prototype").save_pretrained(tmp_path / "cached")
    asked = {}

    def give(name: str, **options: object) -> str:
        asked.update(options, name=name)
        return str(tmp_path / "cached")

    monkeypatch.setattr(hub, "snapshot_download", give)
    assert isinstance(fewshot.load("user/name").system, Prototype)
    assert asked["name"] == "user/name" and set(asked["allow_patterns"]) == set(hub.FILES)
    config = str(tmp_path / "cached" / "config.json")  # which the mixin asks for on its own
    monkeypatch.setattr("huggingface_hub.hub_mixin.hf_hub_download", lambda **options: config)
    model = fewshot.Model.from_pretrained("user/other", revision="v1", local_files_only=True)
    assert isinstance(model.system, Prototype)
    assert (asked["name"], asked["revision"], asked["local_files_only"]) == ("user/other", "v1", True)


def test_a_name_that_is_nowhere_is_told() -> None:
    with pytest.raises(FileNotFoundError, match=r"no weights at nobody/nothing: there is no such folder here, and the"):
        download("nobody/nothing", local_files_only=True)
    with pytest.raises(FileNotFoundError, match=r"no weights at not a name/at all"):
        download("not a name/at all", local_files_only=True)
