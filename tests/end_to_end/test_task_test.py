"""`python -m fewshot.task_test` as a user runs it."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from omegaconf import OmegaConf

import experiments
from benchmarks import davis
from benchmarks.ledger.entry import entries
from benchmarks.ledger.rows import QUESTIONS
from benchmarks.masks.png import read_labels, write_labels
from benchmarks.protocols.readings import READINGS
from episodes.catalogue import data_set
from episodes.sources.ref_index import ANNOTATORS
from fewshot import task_test
from fewshot.cli.composition import composed, register_schemas
from fewshot.cli.program import checked
from fewshot.config.task_sections import TaskConfig
from fewshot.evaluation.tasks import predictors
from fewshot.run.signals import Interrupted
from tests.end_to_end.trained import write_trained
from tests.episodes.sentence_trees import SIZE, jhmdb_rows, pixels, write_a2d, write_film, write_jhmdb
from tests.episodes.tree import TinyVideo
from tests.episodes.videos import FRAMES, write_davis
from tests.fewshot.evaluation.tasks.trees import PAIR, write_ref_davis, write_refcoco
from tests.shared import require_shared

pytestmark = pytest.mark.end_to_end

TINY = ("system=uniref_tiny", "untrained=true", "logging=disabled", "threads=1", "device=cpu", "task.short=32")


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """Run the command in an empty folder: (exit code, stdout, stderr)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        (tmp_path / "here").mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / "here")
        monkeypatch.setattr(sys, "argv", ["task_test", *arguments])
        code = 0
        try:
            task_test.main()
        except SystemExit as end:
            code = int(end.code or 0)
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


def experiment(name: str) -> Path:
    return Path(experiments.__file__).parent / name


def folder_of(tmp_path: Path) -> Path:
    (folder,) = (tmp_path / "here" / "runs").iterdir()
    return folder


def results_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())


def masks_of(folder: Path) -> dict[str, bytes]:
    masks = folder / "masks"
    return {str(path.relative_to(masks)): path.read_bytes() for path in sorted(masks.rglob("*.png"))}


def test_objects_given_by_masks_are_followed_written_and_scored(call, tmp_path: Path) -> None:
    root = write_davis(tmp_path / "DAVIS")
    code, out, err = call("task=davis17", f"data.root={root}", "task.threshold=null", "zip=true", *TINY)
    assert code == 0, err
    folder = folder_of(tmp_path)
    assert folder.name.startswith("davis17-val-untrained-uniref_tiny")
    assert set(masks_of(folder)) == {f"{video}/{frame}.png" for video in "ab" for frame in FRAMES}
    first = read_labels(folder / "masks" / "b" / f"{FRAMES[0]}.png")
    assert (first == read_labels(root / "Annotations/480p/b" / f"{FRAMES[0]}.png")).all(), "given masks stay"
    stored = results_of(folder)
    official = davis.evaluate(davis.Folders(folder / "masks", root / "Annotations/480p"), ["a", "b"]).compute()
    assert stored["measures"] == official and set(stored["objects"]) == {"a_1", "b_1", "b_2"}
    run = stored["run"]
    assert (run["training"], run["limit"], run["settings"]["name"]) == ("none", None, "uniref")
    assert len(run["weights"]) == len(run["data"]) == 64
    assert "torch" in run["versions"] and run["device"].startswith("cpu")
    (row,) = entries(folder)
    assert (row.protocol, row.split, row.seed) == ("davis_semi_supervised@1", "val", 0) and row.training_run is None
    assert set(row.computed_again) == {"J&F-Mean", "J-Mean", "F-Mean"} and row.test["threshold"] is None
    assert {question: said["answer"] for question, said in row.leak.items()} == dict.fromkeys(QUESTIONS, "no")
    rows = list(csv.DictReader((folder / "results.csv").open()))
    assert [(row["video"], row["object"]) for row in rows] == [("a", "1"), ("b", "1"), ("b", "2")]
    assert (folder / "masks.zip").is_file() and len(list((folder / "pictures").iterdir())) == 2
    for said in ("untrained", "all 2 videos", "J&F-Mean", "threshold    : none"):
        assert said in out, said
    assert (folder / "log.txt").is_file() and yaml.safe_load((folder / "config.yaml").read_text())["untrained"]


def test_expressions_of_four_annotators_are_scored_and_averaged(call, tmp_path: Path) -> None:
    root = write_ref_davis(tmp_path / "data", {"v": PAIR, "w": TinyVideo({1: "dog"}, [], frames=2)})
    code, out, err = call("task=ref_davis17", f"data.root={root}", "pictures=0", *TINY)
    assert code == 0, err
    folder = folder_of(tmp_path)
    stored = results_of(folder)
    free, kept = (
        davis.mean_of_runs(
            davis.evaluate_referring(folder / "masks", root / "valid" / "Annotations", task=task).values()
        )
        for task in ("unsupervised", "identity")
    )
    identity = {"J&F-identity": kept["J&F-Mean"], "J-identity": kept["J-Mean"], "F-identity": kept["F-Mean"]}
    assert stored["measures"] == free | identity and kept["J-Mean"] <= free["J-Mean"]
    assert set(stored["parts"]) == {f"anno_{a}" for a in range(4)} and stored["rows"] == 12
    (row,) = entries(folder)
    assert row.protocol == "davis_unsupervised@1" and len(row.computed_again) == 3
    assert row.leak["class_name"]["answer"] == "yes"
    assert stored["parts"]["anno_0"].keys() == stored["measures"].keys()
    for said in ("J&F-Mean     : objects assigned freely", "J&F-identity : each expression against its own object"):
        assert said in out, said
    assert "the mean over the annotators" in out and not (folder / "pictures").exists()


def test_the_original_ref_davis_is_scored_against_the_unsupervised_masks(call, tmp_path: Path) -> None:
    root = write_davis(tmp_path / "DAVIS")
    (root / "davis_text_annotations").mkdir()
    for name in ANNOTATORS:
        lines = "".join(f'{video} {k} "a thing"\n' for video in "ab" for k in (1, 2))
        (root / "davis_text_annotations" / f"Davis17_{name}.txt").write_text(lines)
    code, _, err = call("task=ref_davis17", f"data.root={root}", "pictures=0", *TINY)
    assert code == 1 and "Annotations_unsupervised/480p is missing" in err
    assert not (tmp_path / "here" / "runs").exists(), "said before anything is predicted"
    for video in "ab":  # one object where Annotations has two
        for frame in FRAMES:
            labels = np.minimum(read_labels(root / f"Annotations/480p/b/{frame}.png"), 1)
            write_labels(root / f"Annotations_unsupervised/480p/{video}/{frame}.png", labels)
    code, out, err = call("task=ref_davis17", f"data.root={root}", "pictures=0", *TINY)
    assert code == 0, err
    stored = results_of(folder_of(tmp_path))
    runs = davis.evaluate_referring(folder_of(tmp_path) / "masks", root / "Annotations_unsupervised/480p")
    official = davis.mean_of_runs(runs.values())
    assert {name: stored["measures"][name] for name in official} == official
    kept = davis.evaluate_referring(
        folder_of(tmp_path) / "masks", root / "Annotations/480p", ["a", "b"], task="identity"
    )
    assert stored["measures"]["J&F-identity"] == davis.mean_of_runs(kept.values())["J&F-Mean"]
    assert "ids kept; truth Annotations/480p" in out
    assert {name.split("/")[1] for name in stored["objects"]} == {"a_1", "b_1"}
    assert "truth        : Annotations_unsupervised/480p" in out


def test_expressions_are_scored_where_the_truth_is_there(call, tmp_path: Path) -> None:
    root = write_ref_davis(tmp_path / "data", {"v": PAIR})
    code, out, err = call("task=ref_youtube_vos", f"data.root={root}", "task.threshold=null", *TINY)
    assert code == 0, err
    found = results_of(folder_of(tmp_path))
    assert found["measures"].keys() == {"J", "F", "J&F"} and len(found["objects"]) == 8
    assert any("not checked against the server" in line for line in found["card"])
    (row,) = entries(folder_of(tmp_path))
    assert row.protocol == "ref_youtube_vos_local@1" and len(row.computed_again) == 3


def test_expressions_are_written_for_a_server_and_not_scored(call, tmp_path: Path) -> None:
    root = write_ref_davis(tmp_path / "data", {"v": PAIR})
    (root / "valid" / "Annotations").rename(tmp_path / "away")
    code, out, err = call("task=ref_youtube_vos", f"data.root={root}", "task.threshold=null", *TINY)
    assert code == 0, err
    folder = folder_of(tmp_path)
    names = {f"Annotations/v/{k}/{frame}.png" for k in range(8) for frame in FRAMES}
    assert set(masks_of(folder)) == names and results_of(folder)["measures"] == {}
    assert "nothing is scored here" in out


def test_a_system_without_a_memory_of_the_video_is_tested_clip_by_clip(call, tmp_path: Path) -> None:
    root = write_ref_davis(tmp_path / "data", {"v": PAIR})
    own = ("system.name=tests.fewshot.evaluation.tasks.test_windows:Halves", *TINY[1:])
    code, out, err = call("task=ref_davis17", f"data.root={root}", "task.frames_at_once=3", "pictures=1", *own)
    assert code == 0, err
    assert "memory       : none; clips of 3 frames, the best candidate of the whole video" in out
    assert {"J&F-Mean", "J&F-identity"} < results_of(folder_of(tmp_path))["measures"].keys()
    labels = read_labels(folder_of(tmp_path) / "masks/anno_1/v" / f"{FRAMES[3]}.png")
    assert set(labels.flat) == {0, 1, 2} and len(masks_of(folder_of(tmp_path))) == 16
    assert "words        : in lower case" in out
    again = call(
        "task=ref_davis17", f"data.root={root}", "task.keep_case=true", "limit=1", "pictures=0", "name=kept", *own
    )
    assert "words        : capitals as they stand" in again[1]


def test_expressions_in_images(call, tmp_path: Path) -> None:
    root = write_refcoco(tmp_path / "data")
    code, out, err = call("task=refcoco", f"data.root={root}", "limit=1", *TINY)
    assert code == 0, err
    folder = folder_of(tmp_path)
    stored = results_of(folder)
    assert set(stored["measures"]) == {"oIoU", "mIoU", "P@0.5", "P@0.6", "P@0.7", "P@0.8", "P@0.9"}
    assert set(masks_of(folder)) == {"1/0.png", "1/1.png"}
    assert "the first 1 of 2 objects of images" in out
    code, out, err = call("task=refcoco", f"data.root={root}", "resume=true", *TINY)  # goes on with the second
    assert code == 0, err
    assert "1 of 2 are finished already" in out and results_of(folder)["rows"] == 3
    (row,) = entries(folder)
    assert (row.protocol, row.items) == ("ris@1", 3) and len(row.computed_again) == 7


@pytest.mark.parametrize("task", ["a2d", "jhmdb"])
def test_sentences_about_frames_are_scored_with_all_candidates(call, tmp_path: Path, task: str) -> None:
    if task == "a2d":
        pytest.importorskip("h5py")
    root = {"a2d": write_a2d, "jhmdb": write_jhmdb}[task](tmp_path / "data")
    code, out, err = call(f"task={task}", f"data.root={root}", *TINY)
    assert code == 0, err
    folder = folder_of(tmp_path)
    stored = results_of(folder)
    assert list(stored["measures"])[:3] == ["mAP", "oIoU", "mIoU"] and stored["rows"] == 4 and stored["samples"] == 2
    assert [(row.protocol, list(row.computed_again)) for row in entries(folder)] == [("sentences@1", [])]
    frames = {"a2d": {"vid-a/00006/0.png", "vid_b/00004/0.png"}, "jhmdb": {"catch_1/00007/0.png", "wave_2/00002/0.png"}}
    assert frames[task] < set(masks_of(folder)) and len(masks_of(folder)) == 4
    offered = json.loads((folder / "predictions.json").read_text())
    assert len(offered) == 4 and offered[0]["segmentation"]["size"] == list(SIZE)
    (row, *_) = csv.DictReader((folder / "results.csv").open())
    assert row["sample_id"] == offered[0]["image_id"] and "runs" not in row
    for said in ("5 frames around", "mAP over IoU .50:.05:.95", "logits resized", "short side 32", "all 2 videos"):
        assert said in out, said
    assert "threshold" not in out and "memory" not in out and len(list((folder / "pictures").iterdir())) == 2
    code, out, err = call(f"task={task}", f"data.root={root}", "resume=true", *TINY)
    assert code == 0 and results_of(folder)["measures"] == stored["measures"], err


def test_a_sentence_that_is_too_long_is_cut_and_said_in_the_log(call, tmp_path: Path) -> None:
    rows = jhmdb_rows()[3:]
    rows[0][4] = " ".join(["very"] * 62 + ["long"])
    root = write_jhmdb(tmp_path / "jhmdb_sentences", rows)
    code, out, err = call("task=jhmdb", f"data.root={root}", "pictures=0", "task.window=1", *TINY)
    assert code == 0, err
    said = "wave_2: an expression is longer than the 64 tokens that are read, these words are cut: 'long'"
    assert said in out and said in (folder_of(tmp_path) / "log.txt").read_text()


def test_a_video_that_cannot_be_decoded_ends_the_run_with_a_line_that_names_it(call, tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    root = write_a2d(tmp_path / "a2d")
    write_film(root / "Release/CLIPS320/vid_b.mp4", [pixels(1), pixels(2)])
    code, _, err = call("task=a2d", f"data.root={root}", "pictures=0", *TINY)
    assert code == 1 and "Traceback" not in err
    assert "a2d: video 'vid_b' ends before frame 4, which" in err.strip().splitlines()[-1]


def test_a_run_that_is_stopped_goes_on_and_ends_as_one_that_is_not(call, tmp_path: Path, monkeypatch) -> None:
    root = write_davis(tmp_path / "DAVIS")
    common = ("task=davis17", f"data.root={root}", "task.threshold=null", "pictures=0", *TINY)
    assert call(*common, "name=whole")[0] == 0
    predict = predictors.VOSPredictor.predict

    def stop_in_the_second(self, sample):
        if sample.video == "b":
            raise Interrupted(2)
        return predict(self, sample)

    with monkeypatch.context() as patch:
        patch.setattr(predictors.VOSPredictor, "predict", stop_in_the_second)
        assert call(*common, "name=parts")[0] != 0
    code, _, err = call(*common, "name=parts")
    assert code == 1 and "resume=true" in err
    code, _, err = call(*common, "name=parts", "resume=true", "task.long=99", "threads=2")
    assert code == 1 and "started with other settings: task.long=99 (was 1333). Give another name=<name>" in err
    code, out, err = call(*common, "name=parts", "resume=true")
    assert code == 0, err
    assert "1 of 2 are finished already" in out
    whole, parts = (tmp_path / "here" / "runs" / name for name in ("whole", "parts"))
    assert masks_of(whole) == masks_of(parts) and len(masks_of(whole)) == 8
    assert results_of(whole)["measures"] == results_of(parts)["measures"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("task=davis17", "untrained=false"), "no weights: give weights=<run folder, converted folder or official"),
        (("task=davis17", "system=prototype"), "keeps no memory of a video; task vos is for uniref, uniref_sam"),
        (("task=refcoco", "system=prototype"), "task ris gives the system an expression, which prototype"),
        (("task=ref_davis17", "system=cma_tiny"), "cma needs masks, which task rvos does not give"),
        (("task=davis17", "task.split=testA"), "task.split=testA: benchmark davis17 has val, train, test-dev"),
        (("task=jhmdb", "task.score=ris"), "task.score=ris: for benchmark jhmdb valid are sentences"),
        (("task=jhmdb", "system=prototype"), "task rfs gives the system an expression, which prototype"),
        (("task=jhmdb", "task.window=0"), "task.window=0: the smallest valid value is 1"),
        (("task=davis17", "task.score=ris"), "task.score=ris: for benchmark davis17 valid are none, davis"),
        (("task=davis17", "task.threshold=1"), "scores lie between 0 and 1"),
        (("task=davis17", "task.long=20"), "task.short=32 is more than task.long=20"),
        (("task=davis17", "data.root=nowhere"), "data.root=nowhere is not a folder"),
        (("task=davis17", "data.root=null"), "data.root is not set: benchmark davis17 is read from a folder"),
        (("task=davis17", "weights=nowhere.pth"), "no weights at nowhere.pth"),
        (("task=davis17", "task.sort=480"), "unknown key 'task.sort'"),
    ],
)
def test_what_cannot_work_is_refused(call, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    root = tmp_path / "data"
    write = {"davis17": write_davis, "refcoco": write_refcoco, "jhmdb": write_jhmdb}.get(arguments[0].partition("=")[2])
    write(root) if write else write_ref_davis(root, {"v": PAIR})
    given = {argument.partition("=")[0]: argument for argument in (f"data.root={root}", *TINY, *arguments)}
    code, _, err = call(*given.values())
    assert code == 1 and message in err, err
    assert not (tmp_path / "here" / "runs").exists()


def test_the_weights_of_a_training_run_bring_their_system(call, tmp_path: Path) -> None:
    root = write_davis(tmp_path / "DAVIS")
    register_schemas()
    trained = checked(composed("meta_train", ["system=uniref_tiny", "system.hidden_dim=32", "train.steps=1"]))
    run = write_trained(tmp_path / "trained", trained)
    rest = [argument for argument in TINY if not argument.startswith(("system", "untrained"))]
    code, out, err = call("task=davis17", f"data.root={root}", f"weights={run}", "pictures=0", *rest)
    assert code == 0, err
    folder = folder_of(tmp_path)
    assert folder.name.startswith("davis17-val-trained") and "checkpoint of step 1" in out
    assert results_of(folder)["weights"] == str(run)
    assert yaml.safe_load((folder / "config.yaml").read_text())["system"]["hidden_dim"] == 32
    code, _, err = call("task=davis17", f"data.root={root}", f"weights={run}", "system=uniref", *rest)
    assert code == 1 and "bring their own system, which differs" in err


def test_the_system_of_the_weights_is_tested_as_its_released_code_is(call, tmp_path: Path) -> None:
    root = write_jhmdb(tmp_path / "jhmdb_sentences")
    register_schemas()
    trained = checked(composed("train_stage", ["stage=synthetic_rvos", "system=referformer_tiny"]))
    run = write_trained(tmp_path / "trained", trained)
    rest = (f"data.root={root}", f"weights={run}", "pictures=0", "logging=disabled", "device=cpu", "task.short=64")
    code, out, err = call("task=jhmdb", "name=own", *rest)
    assert code == 0, err
    assert "own settings" in out and "task.masks_by_nearest=true" in out and "cut at network size" in out
    code, out, err = call("task=jhmdb", "name=typed", "task.masks_by_nearest=false", *rest)
    assert code == 0, err
    assert "own settings" not in out and "logits resized" in out
    stored = yaml.safe_load((tmp_path / "here" / "runs" / "own" / "config.yaml").read_text())
    assert stored["task"]["masks_by_nearest"] is True


@pytest.mark.parametrize(
    "path", sorted((Path(experiments.__file__).parent / "task").glob("*.yaml")), ids=lambda p: p.stem
)
def test_every_task_is_valid_and_has_the_numbers_of_its_benchmark(path: Path) -> None:
    register_schemas()
    config = checked(composed("task_test", [f"task={path.stem}", "data.root=somewhere"])).task
    assert config.benchmark == path.stem and config.split in data_set(path.stem).splits
    of_detr = data_set(path.stem).kind == "rfs" or path.stem == "synthetic_rvos"
    of_kind = {"ris": (800, 1333), "rfs": (360, 640), **dict.fromkeys(READINGS, (640, 1333))}
    sizes = (64, 96) if path.stem.startswith("synthetic") else of_kind.get(data_set(path.stem).kind, (480, 1333))
    assert (config.short, config.long) == sizes and config.rule == ("short" if of_detr else "fit")
    assert config.window == 5 and config.masks_by_nearest == (data_set(path.stem).kind == "ris")
    thresholds = {"davis16": 0.3, "davis17": 0.3, "lvos": 0.5, "ref_youtube_vos": 0.3, "mevis": 0.3}
    thresholds |= dict.fromkeys(("youtube_vos", "mose", "vos_folder"), 0.4)
    assert config.threshold == thresholds.get(path.stem)
    assert config.use_memory == (path.stem not in ("ref_davis17", "synthetic_rvos"))
    assert not config.resize_given_masks and not config.compare_logits
    assert config.clip_frames == (3 if path.stem.startswith("synthetic") else 5) and config.protocol is None
    assert OmegaConf.load(path).keys() <= {key.name for key in fields(TaskConfig)}


def test_the_defaults_are_written_down() -> None:
    register_schemas()
    written, config = OmegaConf.load(experiment("task_test.yaml")), composed("task_test", [])
    sections = {"task", "system", "logging"}
    assert set(written) - {"defaults"} == set(config) - sections


@pytest.mark.slow
def test_real_videos(call, tmp_path: Path) -> None:
    root = require_shared("data", "davis17-tiny")
    code, out, err = call("task=davis17", f"data.root={root}", "task.threshold=null", *TINY)
    assert code == 0, err
    assert "bear is not scored: its truth has 2 frames" in out
    folder = folder_of(tmp_path)
    assert set(results_of(folder)["objects"]) == {"blackswan_1"} and len(masks_of(folder)) == 10
    assert set(read_labels(folder / "masks/tennis/00000.png").flat) == {0, 1, 2}
