"""How weights were trained, as their checkpoint and its run folder say it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import fewshot
from fewshot.inference.training_run import training_run
from fewshot.weights.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from tests.fewshot.inference.saved import write_run

SETTINGS = {
    **{"train.steps": 800, "train.episodes_per_step": 2, "train.lr": 0.001, "train.schedule": "onecycle"},
    **{"seed": 3, "group": 1, "init_from": "/here/start.pt"},
}


def trained(folder: Path, **changed: Any) -> Path:
    """A run folder whose checkpoint holds the settings of its training."""
    write_run(folder)
    file = folder / "checkpoints" / "best.pt"
    save_checkpoint(file, {**load_checkpoint(file), "step": 600, "fingerprint": SETTINGS | changed})
    return folder


def test_a_run_folder_says_how_it_was_trained(tmp_path: Path) -> None:
    found = training_run(trained(tmp_path / "run"))
    assert found is not None and [len(found.pop(name)) for name in ("digest", "set_up")] == [12, 12]
    assert found == {
        **{"steps": 800, "episodes_per_step": 2, "lr": 0.001, "schedule": "onecycle", "seed": 3, "step": 600},
        "recipe": "corrected",
    }


def test_the_digest_is_of_the_settings_and_not_of_the_places_of_files(tmp_path: Path) -> None:
    moved, other = {"init_from": "/there/start.pt"}, {"init_from": "/here/other.pt"}
    digests = [
        training_run(trained(tmp_path / str(k), **changed))["digest"]  # type: ignore[index]
        for k, changed in enumerate(({}, moved, other, {"train.lr": 0.002}))
    ]
    assert digests[0] == digests[1] and len(set(digests)) == 3


def test_repetitions_have_one_set_up_and_another_optimiser_has_its_own(tmp_path: Path) -> None:
    trainings: list[dict[str, Any]] = [{}, {"seed": 4, "train.seed": 4}, {"group": 2}, {"train.weight_decay": 0.1}]
    found = [training_run(trained(tmp_path / str(k), **changed)) for k, changed in enumerate(trainings)]
    assert [one["set_up"] == found[0]["set_up"] for one in found] == [True, True, True, False]  # type: ignore[index]
    assert len({one["digest"] for one in found}) == 4  # type: ignore[index]


def test_what_a_file_does_not_tell_is_not_known(tmp_path: Path) -> None:
    alone = trained(tmp_path / "run").rename(tmp_path / "moved") / "checkpoints" / "best.pt"
    (tmp_path / "moved" / "config.yaml").unlink()
    found = training_run(alone)
    assert found is not None and found["recipe"] is None and found["steps"] == 800
    write_run(tmp_path / "old")
    assert training_run(tmp_path / "old") == {"not_known": "best.pt does not tell how it was trained"}
    torch.save({"a": torch.zeros(1)}, tmp_path / "official.pth")
    assert training_run(tmp_path / "official.pth") == {"not_known": "official.pth does not tell how it was trained"}
    with pytest.raises(FileNotFoundError):
        training_run(tmp_path / "nothing")


def test_saved_weights_carry_how_they_were_trained_or_say_who_did_not_tell(tmp_path: Path) -> None:
    first, again = tmp_path / "saved", tmp_path / "again"
    fewshot.load(trained(tmp_path / "run")).save_pretrained(first)
    fewshot.load(first).save_pretrained(again)
    fewshot.Model.from_pretrained(again).save_pretrained(tmp_path / "third")
    assert training_run(tmp_path / "third") == training_run(again) == training_run(tmp_path / "run")
    config = json.loads((first / "config.json").read_text())
    del config["training_run"]
    (first / "config.json").write_text(json.dumps(config))
    assert training_run(first) == {"not_known": "the model that was saved does not tell how it was trained"}
    (first / "config.json").write_text(json.dumps({**config, "source": "video_joint_r50.pth"}))
    assert training_run(first) == {"not_known": "video_joint_r50.pth does not tell how it was trained"}
    (first / "config.json").write_text(json.dumps({**config, "training_run": [1]}))
    with pytest.raises(CheckpointError, match="how its weights were trained .training_run. is damaged"):
        training_run(first)
