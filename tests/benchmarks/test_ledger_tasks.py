"""The ledger: rows of tests of tasks, and how weights were trained."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.ledger.check import check_ledger, refuse, suspicions
from benchmarks.ledger.entry import entries
from benchmarks.ledger.export import eval_results
from benchmarks.ledger.rows import Claimed, Measured, MeasuredTask, digest_of, read_ledger, write_rows
from benchmarks.ledger.table import ledger_table
from benchmarks.overview import overview
from benchmarks.protocols.scored import SCORE_PROTOCOLS, rules_of_test, task_rules
from tests.benchmarks.test_ledger import LEAK, run_folder

TRAINED = {
    **{"steps": 800, "episodes_per_step": 2, "lr": 0.001, "schedule": "onecycle", "seed": 0},
    **{"step": 600, "recipe": "corrected", "digest": "a" * 12},
}
AREAS = [[8, 10], [3, 10], [0, 4]]
PAPER = Claimed("refcoco-testA", "uniref", 0, "oIoU", 0.82, "Wu et al.", "read in a table")


def task_folder(folder: Path, weights: str = "ab", split: str = "testA", **changed: Any) -> Path:
    """A run folder with the results of a test of expressions in images, as `task_test` writes them."""
    record = {
        "system": "uniref",
        "settings": {"name": "uniref", "heads": 8, "text_weights": "/data/bert-base-uncased"},
        "data": "d" * 64,
        "weights": weights * 32,
        "training": "refcoco_mixed",
        "training_run": TRAINED,
        "test": {"short": 480, "long": 768},
        "leak": LEAK,
        "seed": 0,
        "limit": None,
        "device": "cpu, 1 threads",
        "fewshot": "0.2.0",
        "commit": "c" * 40,
        "versions": "Python 3.12",
        "date": "2026-11-22T06:00:00+00:00",
        **changed,
    }
    content = {
        **SCORE_PROTOCOLS["ris"].record,
        "benchmark": "refcoco",
        "split": split,
        "task": "ris",
        "run": record,
        "measures": {
            **{"oIoU": 11 / 24, "mIoU": 1.1 / 3, "P@0.5": 1 / 3, "P@0.6": 1 / 3, "P@0.7": 1 / 3},
            **{"P@0.8": 0.0, "P@0.9": 0.0},
        },
        "parts": {},
        "beside": {},
        "objects": {},
        "areas": AREAS,
        "samples": 2,
        "rows": 3,
    }
    return write(folder, content)


def write(folder: Path, content: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(content))
    return folder


def changed(folder: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    content = json.loads((folder / "results.json").read_text())
    change(content)
    return write(folder, content)


def lines(rows: list[Any], **options: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(ledger_table(rows, "csv", **options))))


def test_a_test_of_a_task_becomes_a_row_that_checks_itself(tmp_path: Path) -> None:
    (row,) = entries(task_folder(tmp_path / "run"))
    assert isinstance(row, MeasuredTask) and row.place == "ris@1/refcoco/uniref/abababab.json"
    assert row.measures["oIoU"] == {"value": 11 / 24, "interval": None} and row.training_run == TRAINED
    assert row.settings["text_weights"] == "bert-base-uncased", "no folders of the machine"
    assert list(row.computed_again) == list(row.measures), "all follow from the areas"
    refuse([row], [])
    write_rows(tmp_path / "ledger", [row])
    assert read_ledger(tmp_path / "ledger") == [row]
    assert check_ledger(tmp_path / "ledger", [tmp_path / "run"]) == []
    with pytest.raises(ValueError, match="ris@1/refcoco/uniref/abababab.json, testA is there already"):
        refuse([row], [row])
    refuse(entries(task_folder(tmp_path / "val", split="val")), [row])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c["measures"].update(oIoU=0.46),
            r"says oIoU 0.46, and its parts give 0.458\d*: the file was edited",
        ),
        (lambda c: c.update(measures={}), "has no numbers: a server of refcoco computes them"),
        (lambda c: c["run"].update(limit=5), "is of the first 5 samples alone"),
        (lambda c: c.pop("protocol"), "does not say what was tested, as results of task_test do now"),
        (lambda c: c["run"].pop("leak"), "does not say what was tested"),
        (lambda c: c.update(protocol_digest="0" * 12), "was counted by other rules of protocol ris"),
        (lambda c: c.update(protocol="rus"), "unknown protocol 'rus'. Did you mean 'ris'"),
        (lambda c: c["run"].pop("data"), "has no 'data': test that run again"),
    ],
)
def test_a_test_is_added_only_if_it_can_be_checked(tmp_path: Path, change: Callable, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        entries(changed(task_folder(tmp_path), change))


def of_expressions(content: dict[str, Any]) -> None:
    content.update(SCORE_PROTOCOLS["expressions"].record, measures={"J": 0.4, "F": 0.6, "J&F": 0.5})
    content.update(objects={"a/0": [0.3, 0.5], "a/1": [0.5, 0.7]}, beside={"shuffled_text": {"J": 0.45, "F": 0.1}})
    del content["areas"]


def of_annotators(content: dict[str, Any]) -> None:
    content.update(SCORE_PROTOCOLS["davis_unsupervised"].record, parts={"anno_0": {}, "anno_1": {}})
    content.update(measures={"J&F-Mean": 0.4, "J-Mean": 0.3, "J-Decay": -0.1, "F-Mean": 0.5, "F-Decay": None})
    content.update(objects={"anno_0/a_1": [0.2, 0.4], "anno_0/b_1": [0.4, 0.6], "anno_1/a_1": [0.3, 0.5]})
    del content["areas"]


def test_numbers_of_objects_and_expressions_are_computed_again(tmp_path: Path) -> None:
    (row,) = entries(changed(task_folder(tmp_path / "e"), of_expressions))
    assert set(row.computed_again) == {"J", "F", "J&F"}
    (said,) = suspicions(row, [])
    assert said == "J with expressions of other objects is 45.0, no less than with the right ones"
    (row,) = entries(changed(task_folder(tmp_path / "a"), of_annotators))
    assert set(row.computed_again) == {"J&F-Mean", "J-Mean", "F-Mean"} and "F-Decay" not in row.measures
    refuse([row], [])
    with pytest.raises(ValueError, match="a number is not in 0..1"):
        refuse([replace(row, measures={"J-Mean": {"value": -0.1, "interval": None}})], [])


def test_papers_stand_beside_what_was_measured_with_the_name_of_the_measure(tmp_path: Path) -> None:
    rows = [PAPER, *entries(task_folder(tmp_path / "a")), *entries(run_folder(tmp_path / "fewshot", groups=(1,)))]
    write_rows(tmp_path / "ledger", rows)
    few, task = lines(read_ledger(tmp_path / "ledger"))
    assert (few["shots"], few["trained"]) == ("1", "mini_ref_ytvos")
    assert {name: task[name] for name in ("benchmark", "shots", "measure", "system", "paper says")} == {
        **{"benchmark": "refcoco-testA", "shots": "-", "measure": "oIoU", "system": "uniref", "paper says": "82.0"}
    }
    assert (task["measured here"], task["seeds"], task["folds here"]) == ("45.8", "1", "-")
    assert task["protocol"] == "ris@1 (paper: its own)" and task["source"] == "Wu et al. (read in a table)"
    assert task["trained"] == "refcoco_mixed; 800 steps of 2 rate 0.001 onecycle corrected"
    for name in ("refcoco", "refcoco-testA"):
        assert len(lines(read_ledger(tmp_path / "ledger"), benchmarks=[name])) == 1
    (line,) = lines(read_ledger(tmp_path / "ledger"), benchmarks=["refcoco"], measure="P@0.5")
    assert (line["measured here"], line["paper says"]) == ("33.3", "-")
    again = TRAINED | {"seed": 1, "digest": "b" * 12, "step": 700}
    write_rows(tmp_path / "ledger", entries(task_folder(tmp_path / "b", "cd", training_run=again)))
    (line,) = lines(read_ledger(tmp_path / "ledger"), benchmarks=["refcoco"])
    assert (line["seeds"], line["measured here"]) == ("2", "45.8 ± 0.0"), "a repetition with another seed"
    longer = TRAINED | {"steps": 1600}
    write_rows(tmp_path / "ledger", entries(task_folder(tmp_path / "c", "ef", training_run=longer)))
    names = {line["system"] for line in lines(read_ledger(tmp_path / "ledger"), benchmarks=["refcoco"])}
    assert names == {"uniref (steps=800)", "uniref (steps=1600)"}


def test_a_jump_wants_a_reason(tmp_path: Path) -> None:
    (row,) = entries(task_folder(tmp_path))
    low = replace(row, weights="e" * 64, measures={"oIoU": {"value": 0.2, "interval": None}})
    (said,) = suspicions(low, [row])
    assert said == "oIoU 20.0 is far from the 45.8 of other seeds and weights"
    (said,) = suspicions(row, [replace(PAPER, value=0.3)])
    assert said == "oIoU 45.8 is far above the 30.0 of Wu et al."


def test_rows_of_tasks_export_to_model_pages(tmp_path: Path) -> None:
    text = eval_results(entries(task_folder(tmp_path)), "me/refcoco")
    assert "task_id: ris@1_testA_oIoU" in text and "value: 45.83" in text and "2 samples" in text


def test_how_weights_were_trained_is_part_of_the_hash_where_it_is_known(tmp_path: Path) -> None:
    """The rows of this repository's ledger that do not have it keep theirs, see `test_ledger`."""
    (row,) = entries(run_folder(tmp_path, groups=(1,)))
    assert isinstance(row, Measured) and row.training_run is None
    assert digest_of(replace(row, training_run=TRAINED)) != digest_of(row)
    longer = replace(row, weights="f" * 64, training_run=TRAINED | {"steps": 1600})
    assert longer.alike != replace(row, training_run=TRAINED).alike, "no repetition of the other"


def test_the_rules_of_tests_have_the_digests_of_their_version() -> None:
    """Where a digest differs a rule was changed: raise the `version` of that protocol, and enter its digest here."""
    assert {rules.versioned: rules.digest for rules in SCORE_PROTOCOLS.values()} == {
        "ris@1": "946f69e36a0f",
        "sentences@1": "3c591e37cfef",
        "davis_semi_supervised@1": "b7d475fb9164",
        "davis_unsupervised@1": "54944a465633",
        "expressions@1": "66fc0771c6c1",
    }
    assert all(task_rules(rules.name) is rules for rules in SCORE_PROTOCOLS.values())
    assert rules_of_test("expressions", "mevis", "rvos") is task_rules("mevis_local")
    assert rules_of_test("protocol", "vspw", "vss", "vspw_baseline") is task_rules("vspw_baseline")
    assert rules_of_test("none", "mevis", "rvos") is None


def test_a_table_of_runs_says_where_tests_of_tasks_are_shown(tmp_path: Path) -> None:
    run_folder(tmp_path / "episodes", groups=(1,))
    _, left_out = overview([tmp_path / "episodes", task_folder(tmp_path / "task")])
    (said,) = left_out
    assert said.startswith(
        f"left out: {tmp_path}/task/results.json is of a task without folds: python -m fewshot.ledger"
    )
