"""One table of many runs."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

import pytest

from benchmarks.overview import overview
from benchmarks.report import Report
from tests.benchmarks.test_report import many, query


def write(folder: Path, scores: list, **record: object) -> Report:
    known = {"system": "uniref", "settings": {"heads": 4, "dropout": 0.0}, "benchmark": "synthetic", "shots": 1}
    report = Report(scores, bootstrap=0, record={**known, "seeds": [0], "trained_with_seed": 0, **record})
    report.write_json(folder / "results.json")
    return report


def cells(places: list, **options: str) -> list[list[str]]:
    table, left_out = overview(places, form="csv", **options)
    assert left_out == []
    return list(csv.reader(io.StringIO(table)))


def test_seeds_and_folds_of_a_system_make_one_row(tmp_path: Path) -> None:
    found = {
        (seed, group): write(
            tmp_path / f"{seed}{group}", many(groups=(group,), shift=0.1 * seed + 0.01 * group), trained_with_seed=seed
        ).value("J", group=group)
        for seed in (0, 1, 2)
        for group in (1, 2)
    }
    header, row = cells(sorted(tmp_path.iterdir()))
    assert header == ["system", "benchmark", "protocol", "measure", "shots", "fold 1", "fold 2", "mean", "seeds"]
    assert row[:5] == ["uniref", "synthetic", "cma@1", "J", "1"] and row[-1] == "3"

    def told(values: list[float]) -> str:
        return f"{100 * mean(values):.1f} ± {100 * stdev(values):.1f}"

    assert row[5:7] == [told([found[seed, group] for seed in (0, 1, 2)]) for group in (1, 2)]
    assert row[7] == told([(found[seed, 1] + found[seed, 2]) / 2 for seed in (0, 1, 2)])


def test_a_mean_needs_every_fold_and_seeds_are_counted(tmp_path: Path) -> None:
    write(tmp_path / "a", many(groups=(1,)))
    write(tmp_path / "b", many(groups=(2,)))
    write(tmp_path / "c", many(groups=(2,)), trained_with_seed=1)
    write(tmp_path / "d", many(groups=(1,)), system="prototype")
    rows = {row[0]: row for row in cells(sorted(tmp_path.iterdir()))[1:]}
    assert rows["prototype"][5:] == [rows["uniref"][5], "-", "-", "1"]
    assert rows["uniref"][7] != "-" and rows["uniref"][-1] == "1 to 2"


def test_other_settings_shots_and_rules_are_rows_of_their_own(tmp_path: Path) -> None:
    write(tmp_path / "a", many())
    write(tmp_path / "b", many(), settings={"heads": 8, "dropout": 0.0})
    write(tmp_path / "c", many(), shots=5)
    write(tmp_path / "d", many())
    changed = json.loads((tmp_path / "d/results.json").read_text()) | {"protocol_digest": "0123456789ab"}
    (tmp_path / "d/results.json").write_text(json.dumps(changed))
    rows = cells(sorted(tmp_path.iterdir()))[1:]
    assert [row[0] for row in rows] == ["uniref (heads=4)", "uniref (heads=8)", "uniref (heads=4)", "uniref (heads=4)"]
    assert [row[4] for row in rows] == ["1", "1", "5", "1"]
    assert rows[3][2] == "cma@1 (rules 0123456789ab)"


def test_a_system_that_adapts_is_told_where_it_stands_alone(tmp_path: Path) -> None:
    write(tmp_path, many(), adaptation={"name": "metasgd", "steps": 1})
    assert cells([tmp_path])[1][0] == "uniref (adaptation=metasgd)"


def test_other_measures_and_probes(tmp_path: Path) -> None:
    scores = [query(0.5, 0.7), query(0.25, 0.3, probe="wrong_support")]
    write(tmp_path, scores)
    assert cells([tmp_path], measure="F")[1][5] == "70.0"
    assert cells([tmp_path / "results.json"], probe="wrong_support")[1][5] == "25.0"


def test_what_cannot_be_shown_is_told(tmp_path: Path) -> None:
    write(tmp_path / "a", many())
    (tmp_path / "empty").mkdir()
    Report(many(), bootstrap=0).write_json(tmp_path / "old" / "results.json")
    table, left_out = overview([tmp_path / name for name in ("a", "empty", "old")])
    assert len(table.splitlines()) == 3
    assert ["left out: " in left_out[0], "does not say what was tested" in left_out[1]] == [True, True]
    with pytest.raises(ValueError, match="mIoU"):
        overview([tmp_path / "a"], measure="mIoU")
    with pytest.raises(ValueError, match="no numbers of probe 'no_support'"):
        overview([tmp_path / "a"], probe="no_support")
    with pytest.raises(ValueError, match="no run was named"):
        overview([])
    with pytest.raises(ValueError, match=f"^{tmp_path}/empty/results.json is not a file .a run has one when its"):
        overview([tmp_path / "empty"])


def trained(**how: object) -> dict[str, object]:
    """The record of a fold whose weights tell how they were trained."""
    return {"groups": {group: {"training": "synthetic", "training_run": {"steps": 9, **how}} for group in ("1", "2")}}


def test_a_second_try_of_a_setting_has_a_row_of_its_own_with_the_name_of_the_run(tmp_path: Path) -> None:
    write(tmp_path / "runs" / "first", many())
    write(tmp_path / "runs" / "sécond", [replace(s, j_cma=0.5) for s in many()])
    write(tmp_path / "other" / "first", many(), trained_with_seed=1)
    places = sorted((tmp_path / "runs").iterdir())
    table, said = overview(places, form="csv")
    assert [row[0] for row in csv.reader(io.StringIO(table))][1:] == ["uniref (run=first)", "uniref (run=sécond)"]
    assert said == ["first and sécond are both of fold 1 and its seed: each run has its own row"]
    table, _ = overview([*places, tmp_path / "other" / "first"], form="csv")
    names = [row[0] for row in csv.reader(io.StringIO(table))][1:]
    assert names[0] == f"uniref (run={tmp_path}/runs/first/results.json)" and len(set(names)) == 3
    twice, said = overview([places[0], tmp_path / "runs" / "first" / "results.json"])
    assert len(twice.splitlines()) == 3 and said == [], "one run that is named twice"


@pytest.mark.parametrize(
    ("record", "label"),
    [
        (trained(schedule="step", set_up="b"), "uniref (schedule=step)"),
        (trained(schedule="constant", set_up="b"), "uniref (set_up=b)"),
        ({**trained(schedule="constant", set_up="a"), "limit": 10}, "uniref (limit=10)"),
        ({**trained(schedule="constant", set_up="a"), "manifest": "l.jsonl"}, "uniref (manifest=l.jsonl)"),
        (
            {**trained(schedule="constant", set_up="a"), "adaptation": {"name": "finetune", "steps": 5}},
            "uniref (adaptation=finetune, adaptation.steps=5)",
        ),
    ],
)
def test_seeds_are_averaged_over_one_training_and_the_same_episodes_alone(
    tmp_path: Path, record: dict[str, object], label: str
) -> None:
    write(tmp_path / "a", many(), **trained(schedule="constant", set_up="a"))
    write(tmp_path / "b", many(), **{**record, "trained_with_seed": 1})
    rows = cells([tmp_path / "a", tmp_path / "b"])[1:]
    assert [row[-1] for row in rows] == ["1", "1"] and rows[1][0] == label


def test_weights_of_two_seeds_that_were_tested_on_the_same_episodes_are_two_seeds(tmp_path: Path) -> None:
    for seed in (1, 2):
        write(tmp_path / str(seed), many(), trained_with_seed=None, **trained(seed=seed, set_up="a"))
    assert [row[-1] for row in cells([tmp_path / "1", tmp_path / "2"])[1:]] == ["2"]


def test_rows_are_told_apart_however_many_settings_they_differ_in(tmp_path: Path) -> None:
    for k in range(2):
        write(tmp_path / f"a{k}", many(), settings={"a": 0, "b": 0, "c": 0, "d": k})
        write(tmp_path / f"b{k}", many(), settings={"a": 1, "b": 1, "c": 1, "d": k})
    names = [row[0] for row in cells(sorted(tmp_path.iterdir()))[1:]]
    assert names[:2] == ["uniref (a=0, b=0, c=0, d=0)", "uniref (a=0, b=0, c=0, d=1)"] and len(set(names)) == 4


def test_forms(tmp_path: Path) -> None:
    write(tmp_path / "a", many(), system="uniref_sam")
    write(tmp_path / "b", [replace(s, j_cma=0.5) for s in many()], system="uniref_sam", trained_with_seed=1)
    places = [tmp_path / "a", tmp_path / "b"]
    markdown, latex = (overview(places, form=form)[0].splitlines() for form in ("markdown", "latex"))
    assert [line.count("|") for line in markdown] == [9, 9, 9] and "±" in markdown[2]
    assert latex[0] == r"\begin{tabular}{llllrrrr}" and latex[-1] == r"\end{tabular}"
    assert latex[4].startswith(r"uniref\_sam & ") and r"$\pm$" in latex[4] and latex[4].endswith(r" \\")


def test_signs_of_latex_and_markdown_are_escaped(tmp_path: Path) -> None:
    write(tmp_path / "a", many(), system="a|b{c}~d^2$\\")
    table, _ = overview([tmp_path / "a"], form="latex")
    assert r"a|b\{c\}\textasciitilde{}d\textasciicircum{}2\$\textbackslash{} & synthetic" in table
    assert r"| a\|b{c}~d^2$" in overview([tmp_path / "a"], form="markdown")[0]
    table, _ = overview([tmp_path / "a"], measure="J&F", form="latex")
    assert r"J\&F & 1 &" in table
