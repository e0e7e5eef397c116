"""`python -m fewshot.expressions`, and the tests of Ref-YouTube-VOS and MeViS that are scored here."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.masks.png import write_mask
from benchmarks.protocols.expressions import EXPRESSION_PROTOCOLS, NOT_CHECKED
from episodes.sources.tasks import open_task_source
from fewshot.cli.runs import TaskTestConfig
from fewshot.config.task_sections import TaskConfig
from fewshot.evaluation.leak import Past, task_leak
from fewshot.evaluation.tasks.report import card
from fewshot.evaluation.tasks.run import with_score
from fewshot.evaluation.tasks.samples import samples_of
from fewshot.systems.prototype.config import PrototypeConfig
from tests.commands import typed
from tests.episodes.expression_trees import LAYOUTS, write_expressions

LABELS = np.zeros((3, 6, 8), np.uint8)
LABELS[:, 1:3, 1:4], LABELS[1:, 4:, 5:] = 1, 2
TRUTH = {"v": (LABELS, [1, 2]), "w": (LABELS, [1])}


def write_results(folder: Path) -> None:
    """True masks; of the second expression of `v` empty ones, which are right where its object is absent."""
    for video, (labels, objects) in TRUTH.items():
        for key, k in enumerate(objects):
            for t, own in enumerate(labels):
                write_mask(folder / video / str(key) / f"{t:05d}.png", (own == k) & (k == 1))


def scored(capsys: pytest.CaptureFixture, *words: str) -> tuple[int, str, str]:
    code = typed("expressions", words)
    out, err = capsys.readouterr()
    return code, " ".join(out.split()), err


@pytest.mark.parametrize(
    ("layout", "outer"), [*((layout, "") for layout in LAYOUTS), ("shared", "Annotations"), ("own", "Annotations")]
)
def test_a_folder_is_scored(tmp_path: Path, capsys: pytest.CaptureFixture, layout: str, outer: str) -> None:
    benchmark, root = write_expressions(tmp_path / "data", layout, TRUTH)
    write_results(tmp_path / "results" / outer)
    words = (f"task={benchmark}", f"results={tmp_path / 'results'}", f"data.root={root}", f"out={tmp_path / 's.json'}")
    code, out, err = scored(capsys, *words)
    assert (code, err) == (0, "")
    assert NOT_CHECKED in out and "2 videos, 3 expressions" in out and "all 77.8 77.8 77.8" in out
    content = json.loads((tmp_path / "s.json").read_text())
    assert content["measures"]["J"] == pytest.approx((1 + 1 / 3 + 1) / 3)
    assert content["objects"]["v/1"] == [pytest.approx(1 / 3)] * 2


def test_a_video_of_mevis_without_results_counts_zero(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    _, root = write_expressions(tmp_path / "data", "mevis", TRUTH)
    write_results(tmp_path / "results")
    (tmp_path / "results" / "w").rename(tmp_path / "elsewhere")
    words = ("task=mevis", f"results={tmp_path / 'results'}", f"data.root={root}")
    code, out, _ = scored(capsys, *words)
    assert code == 0 and "all 44.4 44.4 44.4" in out
    assert "1 of 3 expressions are of videos without results: they count 0" in out
    (tmp_path / "results" / "v" / "1").rename(tmp_path / "another")
    code, _, err = scored(capsys, *words)
    assert code == 1 and "v/1/00000.png is missing" in err and err.count("\n") == 1


def test_results_of_ref_youtube_vos_are_needed_for_every_video(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    _, root = write_expressions(tmp_path / "data", "own", TRUTH)
    write_results(tmp_path / "results")
    (tmp_path / "results" / "w").rename(tmp_path / "elsewhere")
    code, _, err = scored(capsys, "task=ref_youtube_vos", f"results={tmp_path / 'results'}", f"data.root={root}")
    assert code == 1 and f"{tmp_path}/results/w/0/00000.png is missing: a mask of every frame is needed" in err


def test_missing_frames_of_the_truth_and_masks_of_another_size_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    _, root = write_expressions(tmp_path / "data", "own", TRUTH)
    write_results(tmp_path / "results")
    (root / "valid" / "Annotations" / "w" / "0" / "00002.png").unlink()
    words = ("task=ref_youtube_vos", f"results={tmp_path / 'results'}", f"data.root={root}")
    code, out, _ = scored(capsys, *words)
    assert code == 0 and "the truth of 8 of 9 listed frames is there" in out
    write_mask(tmp_path / "results" / "w" / "0" / "00000.png", np.zeros((3, 4)))
    code, _, err = scored(capsys, *words)
    assert code == 1 and "w/0/00000.png is 3x4, the truth is 6x8: write the masks at the size of the video" in err


def test_what_cannot_be_scored_is_said(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    _, root = write_expressions(tmp_path / "data", "mevis", TRUTH)
    data, results = f"data.root={root}", f"results={tmp_path}"
    (tmp_path / "own.json").write_text("[1, 2]")
    for words, said in (
        (("task=mevis", data, "results=/nowhere"), "results=/nowhere is not a folder"),
        (("task=mevis", data, results, "split=val"), "split=val: mevis has valid_u, train"),
        (("task=davis17", data, results), "task=davis17: valid are ref_youtube_vos, mevis"),
        (("task=mevis", data, results, f"out={tmp_path / 'own.json'}"), "holds no scores that this program wrote"),
        (("task=ref_youtube_vos", data, results), "meta_expressions.json is missing"),
    ):
        code, _, err = scored(capsys, *words)
        assert code == 1 and err.startswith("error: ") and said in err and err.count("\n") == 1
    assert (tmp_path / "own.json").read_text() == "[1, 2]"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_task_is_scored_where_its_truth_is_there(tmp_path: Path, layout: str) -> None:
    benchmark, root = write_expressions(tmp_path / "data", layout, TRUTH)
    config = TaskTestConfig(system=PrototypeConfig(), task=TaskConfig(benchmark=benchmark, score="if_there"))
    source = open_task_source(benchmark, root)
    config_there = with_score(config, source)
    assert config_there.task.score == "expressions" and config.task.score == "if_there"
    text = card(config_there, source, samples_of(source.items()), own_way=False, leak=task_leak(source, Past()))
    assert "leak         : class name given: yes (objects are given by words)" in text
    assert NOT_CHECKED in text and EXPRESSION_PROTOCOLS[benchmark].versioned in text
    truth = root / "valid_u" / "mask_dict.json" if layout == "mevis" else root / "valid" / "Annotations"
    truth.rename(tmp_path / "away")
    source = open_task_source(benchmark, root)
    assert with_score(config, source).task.score == "none"
    asked = replace(config, task=replace(config.task, score="expressions"))
    with pytest.raises(ValueError, match=r"Without the truth: task.score=none"):
        with_score(asked, source)


def test_the_rules_have_the_digests_of_their_version() -> None:
    """A rule that changes needs a new version, so that numbers of before are not taken for numbers of now."""
    found = {protocol.versioned: protocol.digest for protocol in EXPRESSION_PROTOCOLS.values()}
    assert found == {"mevis_local@1": "b4c9b1be0d7c", "ref_youtube_vos_local@1": "72218efb56ec"}
