"""Paired comparison of two runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.compare import Comparison, Difference, compare, compare_reports, compare_with_first
from benchmarks.report import Report
from tests.benchmarks.test_report import many, query


def shifted(scores: list, by: float, noise: float, seed: int = 5) -> list:
    """The same queries, J a little better."""
    rng = np.random.default_rng(seed)
    return [replace(s, j_cma=float(np.clip(s.j_cma + by + rng.normal(0, noise), 0, 1))) for s in scores]


def test_a_small_steady_gain_is_found_although_the_intervals_of_the_runs_overlap() -> None:
    a = many(groups=(1, 2))
    b = shifted(a, 0.01, 0.005)
    alone = [Report(s, bootstrap=500).fold().estimates["cma"]["J"].bootstrap for s in (a, b)]
    assert alone[0][1] > alone[1][0]
    mean = compare(a, b, bootstrap=500).differences[-3]
    assert (mean.group, mean.measure) == (None, "J")
    assert mean.value == pytest.approx(0.01, abs=0.003)
    assert 0 < mean.interval[0] < mean.value < mean.interval[1] < 0.02
    assert mean.p < 0.01


def test_noise_is_seldom_called_a_gain() -> None:
    a, alarms = many(), 0
    for seed in range(60):
        difference = compare(a, shifted(a, 0.0, 0.05, seed), bootstrap=200).differences[0]
        alarms += not difference.interval[0] < 0 < difference.interval[1]
    assert alarms <= 9  # 5 % of 60 are expected, a little more with only 20 videos


def test_values_are_those_of_the_reports_and_order_does_not_matter() -> None:
    a = many(seeds=2, groups=(1, 2))
    b = shifted(a, 0.05, 0.02)
    found = compare(a, b[::-1], protocol="cma_per_class", bootstrap=100)
    for difference in found.differences:
        of_a, of_b = (
            Report(scores, bootstrap=0).value(difference.measure, "", difference.group, "cma_per_class")
            for scores in (a, b)
        )
        assert (difference.a, difference.b) == pytest.approx((of_a, of_b))
    assert found == compare(a, b, protocol="cma_per_class", bootstrap=100)


def test_only_shared_queries_count_and_the_others_are_reported() -> None:
    a = many()
    found = compare(a[:30], a[10:], bootstrap=50)
    assert (found.shared, found.only_a, found.only_b) == (20, 10, 10)
    assert "10 only in A, 10 only in B" in found.table()
    assert all(difference.value == 0 for difference in found.differences)
    with pytest.raises(ValueError, match="share no query"):
        compare(a, [replace(score, seed=9) for score in a])


def test_one_video_has_no_interval() -> None:
    difference = compare([query(0.5)], [query(0.6)]).differences[0]
    assert difference.interval is None and difference.p is None
    assert difference.value == pytest.approx(0.1)


def test_files_of_either_kind(tmp_path: Path) -> None:
    a = many()
    b = shifted(a, 0.05, 0.01)
    Report(a, bootstrap=0).write_csv(tmp_path / "a.csv")
    Report(b, bootstrap=0).write_json(tmp_path / "b.json")
    assert compare_reports(tmp_path / "a.csv", str(tmp_path / "b.json"), bootstrap=100) == compare(a, b, bootstrap=100)
    with pytest.raises(ValueError, match="c.csv is not a file"):
        compare_reports(tmp_path / "a.csv", tmp_path / "c.csv")
    (tmp_path / "task.json").write_text('{"task": "rvos", "measures": {"J": 0.5}}')
    with pytest.raises(ValueError, match=r"task\.json is of a task, which has no episodes to compare"):
        compare_reports(tmp_path / "a.csv", tmp_path / "task.json")


def test_a_report_that_was_counted_by_other_rules_is_refused(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        Report(many(), bootstrap=0).write_json(tmp_path / name)
    report = json.loads((tmp_path / "b.json").read_text())
    assert (report["protocol"], report["protocol_version"]) == ("cma", 1)
    compare_reports(tmp_path / "a.json", tmp_path / "b.json", bootstrap=10)
    (tmp_path / "b.json").write_text(json.dumps(report | {"protocol_digest": "0123456789ab"}))
    with pytest.raises(ValueError, match=r"b.json was counted by other rules of protocol cma .*0123456789ab.*cma@1"):
        compare_reports(tmp_path / "a.json", tmp_path / "b.json", bootstrap=10)


def test_verdicts_are_in_words() -> None:
    def difference(low: float, high: float, group: int | None = None) -> Difference:
        return Difference(group, "J", 0.5, 0.5 + (low + high) / 2, (low, high), 0.5)

    assert difference(0.004, 0.038).verdict() == "B better by 2.1 (95 % 0.4 to 3.8)"
    assert difference(-0.038, -0.004).verdict(("A", "C")) == "A better by 2.1 (95 % 0.4 to 3.8)"
    assert difference(-0.012, 0.018).verdict() == "no difference seen (B - A: +0.3, 95 % -1.2 to 1.8)"
    assert compare([query(0.5)], [query(0.6)]).differences[0].verdict().startswith("no verdict (one query alone")
    groups = difference(-0.1, 0.1, 1), difference(0.1, 0.2, 2), difference(0.1, 0.2)
    assert Comparison(groups, 9, 0, 0).verdicts() == [
        "J: B better by 15.0 (95 % 10.0 to 20.0)",
        "  group 1: no difference seen (B - A: +0.0, 95 % -10.0 to 10.0)",
    ]
    assert Comparison(groups, 9, 0, 0).table().endswith("\n".join(Comparison(groups, 9, 0, 0).verdicts()))


def test_each_run_is_compared_with_the_first(tmp_path: Path) -> None:
    a = many()
    for name, scores in (("a", a), ("b", shifted(a, 0.05, 0.01)), ("c", shifted(a, -0.05, 0.01))):
        Report(scores, bootstrap=0).write_json(tmp_path / f"{name}.json")
    better, worse = compare_with_first([tmp_path / f"{name}.json" for name in "abc"], bootstrap=100)
    assert better.names == ("A", "B") and better.verdicts()[0].startswith("J: B better by ")
    assert worse.names == ("A", "C") and worse.verdicts()[0].startswith("J: A better by ")
    assert " C - A " in worse.table()
    with pytest.raises(ValueError, match="2 to 26 reports are compared, got 1"):
        compare_with_first([tmp_path / "a.json"])


def test_other_episodes_are_refused(tmp_path: Path) -> None:
    a, b = many(groups=(1, 2)), shifted(many(groups=(1, 2)), 0.05, 0.01)
    one, other = tmp_path / "a.json", tmp_path / "b.json"

    def record(supports: str, data: str = "d") -> dict:
        return {"data": data, "groups": {"1": {"episodes": "x"}, "2": {"episodes": supports}}}

    Report(a, bootstrap=0, record=record("x")).write_json(one)
    Report(b, bootstrap=0, record=record("x")).write_json(other)
    same = compare_reports(one, other, bootstrap=10)
    Report(b, bootstrap=0, record=record("y")).write_json(other)
    with pytest.raises(ValueError, match="of other episodes in group 2: the same queries with other supports"):
        compare_reports(one, other, bootstrap=10)
    assert compare_reports(one, other, bootstrap=10, same_episodes=False) == same
    Report(b, bootstrap=0, record=record("x", "e")).write_json(other)
    with pytest.raises(ValueError, match="tested on other versions of the data"):
        compare_reports(one, other, bootstrap=10)
    Report(b[10:], bootstrap=0, record=record("x")).write_json(other)
    with pytest.raises(ValueError, match="of other episodes: 10 queries are in .*a.json alone, 0 in .*episodes=shared"):
        compare_reports(one, other, bootstrap=10)
    Report(b, bootstrap=0).write_json(other)
    assert compare_reports(one, other, bootstrap=10) == same, "a report that does not say what was tested"
    other.write_text(json.dumps(json.loads(other.read_text()) | {"run": {"groups": [1]}}))
    with pytest.raises(ValueError, match="b.json has a damaged record of what was tested"):
        compare_reports(one, other, bootstrap=10)
