"""Ways on which trained classes could be reported as held out, each of which is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import fewshot
from episodes.catalogue import folds_of
from episodes.episode import ClipSpec, EpisodeSpec
from episodes.folds import folder_folds
from fewshot.evaluation.frozen import check_test
from fewshot.evaluation.given_weights import check_classes
from fewshot.weights.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from fewshot.weights.trained_on import TrainedOn, read_trained_on, trainings_before
from tests.commands import typed

pytestmark = pytest.mark.end_to_end

SMALL = (
    "logging=disabled",
    "threads=1",
    "device=cpu",
    "test.probes=[]",
    "test.pictures=0",
    "test.bootstrap=20",
)
TRAINING = (
    "system=prototype",
    "benchmark.world_videos=2",
    "benchmark.test_episodes=1",
    "benchmark.test_size=32",
    "benchmark.query_frames=1",
    "benchmark.support_frames=1",
    "train.select_on=last",
    "train.steps=1",
    "train.batch=1",
    *SMALL,
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the synthetic world is generated once for all tests of this file."""
    return f"data.cache={tmp_path_factory.mktemp('cache')}"


@pytest.fixture(scope="module")
def trained(cache: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one step that held out group 1."""
    out = tmp_path_factory.mktemp("runs")
    assert typed("meta_train", [*TRAINING, cache, f"out={out}", "name=a", "group=1"]) == 0
    return out / "a"


@pytest.fixture
def refused(tmp_path: Path, cache: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """The message with which a command ends; it is one line and exit code 1."""
    monkeypatch.chdir(tmp_path)

    def call(command: str, *words: str) -> str:
        assert typed(command, [*words, cache]) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ") and "Traceback" not in error
        return error

    return call


SEEN = "was trained with group 1 held out: it has seen the classes of group 2"


def test_a_refused_continuation_does_not_change_what_the_weights_are_known_for(trained: Path, refused) -> None:
    written = (trained / "config.yaml").read_bytes()
    again = (f"out={trained.parent}", "name=a", "group=2", "resume=true")
    assert "group: 1 in the checkpoint, 2 now" in refused("meta_train", *TRAINING, *again)
    assert (trained / "config.yaml").read_bytes() == written
    assert SEEN in refused("meta_test", f"weights={trained}", "group=2", *SMALL)
    (trained / "config.yaml").write_bytes(written.replace(b"group: 1", b"group: 2"))  # what the weights say counts
    try:
        assert SEEN in refused("meta_test", f"weights={trained}", "group=2", *SMALL)
    finally:
        (trained / "config.yaml").write_bytes(written)


def test_weights_say_what_they_were_trained_on_wherever_they_lie(trained: Path, refused, tmp_path: Path) -> None:
    shutil.copy(trained / "checkpoints" / "best.pt", tmp_path / "copied.pt")
    fewshot.load(trained).save_pretrained(tmp_path / "saved")
    fewshot.Model.from_pretrained(tmp_path / "saved").save_pretrained(tmp_path / "saved again")
    typed_system = ("system=prototype", "system.backbone=tiny")
    assert SEEN in refused("meta_test", "weights=copied.pt", "group=2", *typed_system, *SMALL)
    for name in ("saved", "saved again"):
        assert SEEN in refused("meta_test", f"weights={name}", "group=2", *SMALL)
        (record,) = read_trained_on(tmp_path / name) or ()
        assert (record.benchmark, record.group) == ("synthetic", 1)
        assert record.classes is not None and len(record.classes) == 36 and "dax" not in record.classes


def test_a_training_does_not_hold_out_what_its_start_has_seen(trained: Path, refused) -> None:
    message = refused("meta_train", *TRAINING, "group=2", f"train.init_from={trained}")
    assert f"train.init_from={trained} {SEEN}. Start from other weights" in message


def test_what_a_start_has_seen_elsewhere_is_told_on_the_card_of_the_training(
    trained: Path, cache: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = load_checkpoint(trained / "checkpoints" / "best.pt")
    state["trained_on"] = [{"benchmark": "coco20i", "group": 0, "classes": ["cat", "dax"]}]
    save_checkpoint(tmp_path / "start.pt", state)
    words = (f"out={tmp_path}", "name=b", "group=1", f"train.init_from={tmp_path / 'start.pt'}")
    assert typed("meta_train", [*TRAINING, cache, *words]) == 0
    note = "trained on coco20i with group 0 held out; training classes there, so not held out: dax"
    assert note in " ".join(capsys.readouterr().out.split())
    assert [one.benchmark for one in read_trained_on(tmp_path / "b") or ()] == ["synthetic", "coco20i"]


@pytest.mark.parametrize("split", ["train", "val"])
def test_frozen_episodes_of_training_classes_are_not_reported_as_a_test(
    trained: Path, cache: str, refused, split: str
) -> None:
    frozen = ("group=1", f"split={split}", "count=2", "world_videos=2", "out=list.jsonl", cache)
    assert typed("freeze", frozen) == 0
    small = (*SMALL, "benchmark.world_videos=2")
    message = refused("meta_test", f"weights={trained}", "group=1", "manifest=list.jsonl", *small)
    assert f"manifest=list.jsonl holds episodes of split {split}, which show training classes" in message


def test_a_frozen_episode_of_a_class_that_is_not_held_out_is_refused(trained: Path) -> None:
    clip = ClipSpec("dax_000", 1, ("00000",))
    spec = EpisodeSpec("synthetic", 2, "test", 0, 0, 1, "dax", (clip,), (clip,))
    with pytest.raises(ValueError, match="an episode of dax, which group 2 of synthetic does not hold out"):
        check_test([spec], folds_of("synthetic"), "list.jsonl")
    check_test([replace(spec, group=1)], folds_of("synthetic"), "list.jsonl")


def test_weights_that_do_not_say_are_told_on_the_card(
    trained: Path, cache: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    fewshot.load(trained).save_pretrained(tmp_path / "saved")
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    del config["trained_on"]
    (tmp_path / "saved" / "config.json").write_text(json.dumps(config))
    small = (*SMALL, "benchmark.world_videos=2", "benchmark.test_episodes=1", "benchmark.test_size=32", cache)
    assert typed("meta_test", ["weights=saved", "group=2", *small]) == 0
    out = capsys.readouterr().out
    assert "saved does not tell which classes it was trained on" in out
    assert "whether the training of the weights showed the tested classes is not known" in out


def test_a_checkpoint_from_before_the_record_is_known_by_its_fingerprint(trained: Path, tmp_path: Path) -> None:
    state = load_checkpoint(trained / "checkpoints" / "best.pt")
    del state["trained_on"]
    save_checkpoint(tmp_path / "old.pt", state)
    assert read_trained_on(tmp_path / "old.pt") == (TrainedOn("synthetic", 1),)
    state["fingerprint"]["init_from"] = "places/r50.pth"
    save_checkpoint(tmp_path / "old.pt", state)
    assert read_trained_on(tmp_path / "old.pt") == (TrainedOn("synthetic", 1), TrainedOn("r50.pth"))
    del state["fingerprint"]
    save_checkpoint(tmp_path / "old.pt", state)
    assert read_trained_on(tmp_path / "old.pt") is None
    assert trainings_before(tmp_path / "old.pt") == (TrainedOn("old.pt"),) and trainings_before(None) == ()
    save_checkpoint(tmp_path / "odd.pt", {**state, "trained_on": [{"benchmark": 1}]})
    with pytest.raises(CheckpointError, match="odd.pt: what its weights were trained on .* is damaged"):
        read_trained_on(tmp_path / "odd.pt")


def test_classes_count_where_the_groups_of_a_folder_have_changed() -> None:
    """A class that was added to a folder moves the others to other groups."""
    before, now = folder_folds(["b", "c"]), folder_folds(["a", "b", "c"])
    trained = TrainedOn("folder", 1, tuple(map(before.class_name, before.train_classes(1))))
    check_classes(now, 0, [trained], "it")
    with pytest.raises(ValueError, match="it was trained on b, of group 1, when folder had other groups"):
        check_classes(now, 1, [trained], "it")
