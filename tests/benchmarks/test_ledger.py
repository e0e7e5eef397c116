"""The ledger: rows of results with hashes, what is refused, and papers beside what was measured."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.ledger.check import check_ledger, refuse, suspicions
from benchmarks.ledger.entry import entries
from benchmarks.ledger.export import eval_results, write_eval_results
from benchmarks.ledger.rows import INDEX, Claimed, Measured, digest_of, read_ledger, read_rows, write_rows
from benchmarks.ledger.table import COLUMNS, ledger_table
from benchmarks.report import Report
from tests.benchmarks.test_report import many

ROOT = Path(__file__).resolve().parents[2]
LEAK = {name: {"answer": "no", "why": "of it"} for name in ("class_name", "test_classes", "images")}
PAPER = Claimed("mini_ref_ytvos", "cma", 1, "J", 0.531, "Li et al.", "read in a table", protocol="cma@1")


def run_folder(
    folder: Path,
    groups: tuple[int, ...] = (1, 2),
    shift: float = 0.0,
    seed: int = 0,
    training: str = "mini_ref_ytvos",
    **changed: Any,
) -> Path:
    """A run folder with the results of a test, as `meta_test` writes them."""
    weights = {"weights": f"{seed}{'ab' * 32}"[:64], "training": training}
    facts = {**weights, "episodes": "e" * 64, "device": "cpu, 1 threads", "leak": LEAK}
    record = {
        "system": "cma",
        "settings": {"name": "cma", "heads": 8, "text_weights": "/data/roberta-base"},
        "adaptation": None,
        "benchmark": "mini_ref_ytvos",
        "data": "d" * 16,
        "draws": "indexed",
        "manifest": None,
        "limit": None,
        "shots": 1,
        "seeds": [0],
        "trained_with_seed": seed,
        "groups": {str(group): facts for group in groups},
        "fewshot": "0.2.0",
        "commit": "c" * 40,
        "versions": "Python 3.12",
        "date": "2026-11-22T06:00:00+00:00",
        **changed,
    }
    scores = [*many(groups=groups, shift=shift), *many(groups=groups, probe="wrong_support", shift=shift - 0.3)]
    Report(tuple(scores), bootstrap=20, record=record).write_json(folder / "results.json")
    return folder


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A ledger with a paper and two folds of a run."""
    folder = tmp_path / "ledger"
    write_rows(folder, [PAPER, *entries(run_folder(tmp_path / "run"))])
    return folder


def test_the_ledger_of_this_repository_is_in_order() -> None:
    assert check_ledger(ROOT / "ledger") == []
    assert len([row for row in read_ledger(ROOT / "ledger") if isinstance(row, Claimed)]) >= 60


def test_a_run_becomes_a_row_for_each_fold(ledger: Path, tmp_path: Path) -> None:
    rows = [row for row in read_ledger(ledger) if isinstance(row, Measured)]
    assert [row.group for row in rows] == [1, 2] and {row.place for row in rows} == {
        "cma@1/mini_ref_ytvos/cma/0abababa.json"
    }
    stored = json.loads((tmp_path / "run" / "results.json").read_text())
    fold = next(fold for fold in stored["folds"] if (fold["group"], fold["probe"]) == (1, ""))
    assert rows[0].measures["J"] == {
        "value": fold["estimates"]["cma"]["J"]["value"],
        "interval": fold["estimates"]["cma"]["J"]["bootstrap"],
    }
    assert rows[0].settings["text_weights"] == "roberta-base", "no folders of the machine"
    assert rows[0].probes["wrong_support"]["J"] < rows[0].measures["J"]["value"]
    assert check_ledger(ledger, [tmp_path / "run"]) == []
    (tmp_path / "run" / "results.json").write_text("{}")
    assert check_ledger(ledger, [tmp_path / "run"]) == [f"{tmp_path}/run/results.json is not the file of any row"]


def test_an_edited_row_stays_known_as_such_when_another_joins_it(ledger: Path, tmp_path: Path) -> None:
    path = ledger / "cma@1/mini_ref_ytvos/cma/0abababa.json"
    path.write_text(path.read_text().replace('"device": "cpu, 1 threads"', '"device": "a better one"', 1))
    write_rows(ledger, entries(run_folder(tmp_path / "other", groups=(3,))))
    assert len(read_rows(path)) == 3
    assert sum("does not match its hash, it was edited" in line for line in check_ledger(ledger)) == 1


def add_to_a_number(content: dict[str, Any]) -> None:
    fold = next(fold for fold in content["folds"] if fold["group"] == 2)
    fold["estimates"]["cma"]["F"]["value"] += 0.02


CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "number": add_to_a_number,
    "limit": lambda content: content["run"].update(limit=10),
    "older": lambda content: content["run"].pop("limit"),
    "rules": lambda content: content.update(protocol_digest="0" * 12),
    "text": lambda content: content["folds"][0]["estimates"]["cma"]["J"].update(value="0.5"),
    "folds": lambda content: content.pop("folds"),
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("number", "says F 0.60.* of group 2, and its queries give 0.58.*: the file was edited"),
        ("limit", "is of 10 episodes of each fold, fewer than its protocol asks"),
        ("older", "does not say what was tested, as results of meta_test do now"),
        ("rules", "was counted by other rules of protocol cma"),
        ("text", "says J 0.5 of group 1, and its queries give"),
        ("folds", "has no 'folds': test that run again"),
    ],
)
def test_a_run_is_added_only_if_it_can_be_checked(tmp_path: Path, change: str, message: str) -> None:
    path = run_folder(tmp_path) / "results.json"
    content = json.loads(path.read_text())
    CHANGES[change](content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        entries(path)


def test_a_row_that_is_changed_removed_moved_or_twice_is_named(ledger: Path) -> None:
    place = "cma@1/mini_ref_ytvos/cma/0abababa.json"
    text = (ledger / place).read_text()
    value = next(row.measures["J"]["value"] for row in read_ledger(ledger) if isinstance(row, Measured))
    (ledger / place).write_text(text.replace(str(value), "0.99"))
    changed = check_ledger(ledger)
    assert any("does not match its hash, it was edited" in line for line in changed)
    assert any(line.startswith(f"{place}: a row was removed or changed") for line in changed)
    (ledger / place).unlink()
    assert [line[: len(place)] for line in check_ledger(ledger)] == [place, place]
    (ledger / "elsewhere.json").write_text(text)
    assert f"elsewhere.json: holds a row that belongs into {place}" in check_ledger(ledger)
    (ledger / place).write_text(text)
    assert sum("is there twice" in line for line in check_ledger(ledger)) == 2
    (ledger / "elsewhere.json").write_text("[]")
    assert any("elsewhere.json is no file of a ledger" in line for line in check_ledger(ledger))
    (ledger / "elsewhere.json").unlink()
    (ledger / INDEX).write_text("")
    assert sum("is not in the index" in line for line in check_ledger(ledger)) == 3


def test_a_number_that_is_none_is_named_and_the_other_rows_are_checked(ledger: Path) -> None:
    place = "cma@1/mini_ref_ytvos/cma/0abababa.json"
    content = json.loads((ledger / place).read_text())
    for wrong in ("0.5", None, True):
        content["rows"][0]["measures"]["J"]["value"] = wrong
        (ledger / place).write_text(json.dumps(content))
        found = check_ledger(ledger)
        assert any(f"{place} is no file of a ledger ({wrong!r} is no number)" in line for line in found)


@pytest.mark.parametrize("name", ["../../..", "a/../../../b"])
def test_nothing_is_written_outside_the_ledger(tmp_path: Path, name: str) -> None:
    rows = [replace(row, benchmark=name) for row in entries(run_folder(tmp_path / "run"))]
    with pytest.raises(ValueError, match="leads out of the ledger"):
        write_rows(tmp_path / "ledger", rows)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_row_that_is_gone_from_file_and_index_is_missed_by_another_copy(ledger: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "copy", [PAPER])
    assert check_ledger(ledger, against=tmp_path / "copy") == []
    found = check_ledger(tmp_path / "copy", against=ledger)
    assert len(found) == 2 and all(f"was removed or changed since {ledger}" in line for line in found)


def test_adding_twice_is_refused(ledger: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="group 1, 1 shots, seed 0 is there already"):
        refuse(entries(tmp_path / "run"), read_ledger(ledger))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protocol": "cmq@1"}, "unknown protocol 'cmq'. Did you mean 'cma'"),
        ({"protocol": "cma@7"}, "its protocol is not known, the latest version of cma is cma@1"),
        ({"rules": "0" * 12}, "its rules are 000000000000, those of cma@1 are"),
        ({"seeds": []}, "it has no seed"),
        ({"measures": {"J": {"value": 0.6, "interval": None}}}, "it has no F, J&F"),
        ({"probes": {"no_support": {"J": 1.2}}}, "a number is not in 0..1"),
        ({"commit": "c-dirty"}, "source files that differ from its commit; say why"),
        ({"manifest": "mine.jsonl"}, "its episodes were frozen in mine.jsonl, not drawn by its protocol"),
        ({"probes": {"wrong_support": {"J": 0.9}}}, "with supports of a wrong class is 90.0, no less than"),
    ],
)
def test_what_is_wrong_or_suspicious_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    row = replace(entries(run_folder(tmp_path))[0], **changes)
    with pytest.raises(ValueError, match=message):
        refuse([row], [])
    write_rows(tmp_path / "ledger", [row])
    assert any(message.partition("'")[0].split(" are ")[0] in line for line in check_ledger(tmp_path / "ledger"))


def test_a_jump_wants_a_reason(ledger: Path, tmp_path: Path) -> None:
    far = entries(run_folder(tmp_path / "far", groups=(1,), shift=-0.25, seed=1))
    (said,) = suspicions(far[0], read_ledger(ledger))
    assert said.endswith("of other seeds and weights")
    with pytest.raises(ValueError, match="say why with note="):
        refuse(far, read_ledger(ledger))
    told = entries(tmp_path / "far", note="a slow start")
    refuse(told, read_ledger(ledger))
    near = entries(run_folder(tmp_path / "near", groups=(1,), shift=0.02, seed=1))
    refuse(near, read_ledger(ledger))
    low = replace(PAPER, value=0.4)
    assert any("is far above the 40.0 of Li et al." in line for line in suspicions(near[0], [low]))


def cells(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_papers_stand_beside_what_was_measured(ledger: Path, tmp_path: Path) -> None:
    other = replace(
        PAPER, system="HPAN", value=0.4, folds={"1": 0.3, "2": 0.5}, variant="no words", leak={"images": "no"}
    )
    write_rows(ledger, [other, *entries(run_folder(tmp_path / "b", groups=(1, 2, 3, 4), seed=1, shift=0.01))])
    first, paper = cells(ledger_table(read_ledger(ledger), "csv"))
    assert (first["system"], first["paper says"], first["source"]) == ("cma", "53.1", "Li et al. (read in a table)")
    assert re.fullmatch(r"1: \S+ ± \S+, 2: \S+ ± \S+, 3: \S+, 4: \S+", first["folds here"])
    assert first["seeds"] == "1 to 2"
    assert first["measured here"] == "-", "the folds have other seeds"
    assert (first["protocol"], first["name given"], first["classes seen"]) == ("cma@1", "no", "no")
    assert (paper["system"], paper["its folds"]) == ("HPAN (no words)", "1: 30.0, 2: 50.0")
    assert (paper["measured here"], paper["queries seen"], paper["name given"]) == ("-", "no", "not known")
    write_rows(ledger, entries(run_folder(tmp_path / "c", groups=(3, 4))))
    assert "±" in cells(ledger_table(read_ledger(ledger), "csv"))[0]["measured here"]
    (line,) = cells(ledger_table(read_ledger(ledger), "csv", measure="F"))
    assert line["measure"] == "F" and line["paper says"] == "-"
    for form, start in (("markdown", "| benchmark |"), ("latex", r"\begin{tabular}"), ("text", "benchmark")):
        assert ledger_table(read_ledger(ledger), form).startswith(start)
    with pytest.raises(ValueError, match="no such row"):
        ledger_table(read_ledger(ledger), benchmarks=["coco20i"])
    assert len(COLUMNS) == len(first)


def test_settings_and_adaptation_make_rows_of_their_own(ledger: Path, tmp_path: Path) -> None:
    adapted = run_folder(tmp_path / "a", groups=(1,), seed=2, adaptation={"name": "anil", "steps": 5})
    write_rows(ledger, entries(adapted))
    names = {row["system"] for row in cells(ledger_table(read_ledger(ledger), "csv"))}
    assert names == {"cma (adaptation=none)", "cma (adaptation=anil, adaptation.steps=5)"}


def test_a_system_that_was_not_trained_is_no_repetition_of_a_trained_one(ledger: Path, tmp_path: Path) -> None:
    bare = entries(run_folder(tmp_path / "bare", groups=(1,), shift=-0.4, seed=3, training="none"))
    refuse(bare, read_ledger(ledger))
    write_rows(ledger, bare)
    names = {row["system"] for row in cells(ledger_table(read_ledger(ledger), "csv"))}
    assert names == {"cma (training=mini_ref_ytvos)", "cma (training=none)"}
    assert [row["system"] for row in cells(ledger_table(bare, "csv"))] == ["cma, untrained"]


def test_two_weights_of_one_seed_and_fold_have_a_line_each(ledger: Path) -> None:
    rows = [row for row in read_ledger(ledger) if isinstance(row, Measured)]
    worse = {**rows[0].measures, "J": {"value": 0.1, "interval": None}}
    found = cells(ledger_table([*rows, replace(rows[0], weights="f" * 64, measures=worse)], "csv"))
    assert [line["system"] for line in found] == ["cma (weights=0abababa)", "cma (weights=ffffffff)"]
    assert found[1]["folds here"] == "1: 10.0"


def test_rows_export_to_model_pages(ledger: Path, tmp_path: Path) -> None:
    from huggingface_hub import parse_eval_result_entries

    rows = [row for row in read_ledger(ledger) if isinstance(row, Measured)]
    text = eval_results(rows, "me/mini-ref", "https://example.org/ledger")
    found = parse_eval_result_entries(yaml.safe_load(text))
    assert [entry.task_id for entry in found[:3]] == [f"cma@1_1shot_group1_{m}" for m in ("J", "F", "JandF")]
    assert found[0].value == round(100 * rows[0].measures["J"]["value"], 2) and found[0].dataset_id == "me/mini-ref"
    for said in ("rules 6ffa44e3f179", "seeds 0", "class name given: no", f"results.json {rows[0].file[:12]}"):
        assert said in found[0].notes
    with pytest.raises(ValueError, match="are of none: name files of one"):
        eval_results([], "me/mini-ref")
    out = tmp_path / ".eval_results" / "a.yaml"
    write_eval_results(out, text)
    write_eval_results(out, text)
    with pytest.raises(FileExistsError, match="exists already with other results"):
        write_eval_results(out, text + "# more\n")


def test_hashes_are_of_everything_that_a_row_says(ledger: Path) -> None:
    ((row, digest),) = read_rows(ledger / PAPER.place)
    assert row == PAPER and digest == digest_of(PAPER) != digest_of(replace(PAPER, seen="from memory"))
