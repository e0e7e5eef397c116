"""Reports: averages worked out by hand, intervals, probes, and files that can be read back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.compare import compare
from benchmarks.metrics.cma import CmaAccumulator, frame_scores
from benchmarks.protocols import VIDEO_PROTOCOLS as PROTOCOLS
from benchmarks.report import QueryScore, Report
from benchmarks.scores.intervals import t_interval
from benchmarks.scores.scores import read_scores


def query(
    j: float = 0.5,
    f: float = 0.5,
    *,
    seed: int = 0,
    group: int = 1,
    probe: str = "",
    video: str = "v",
    class_id: int = 1,
    frames: int = 10,
    expression_id: str = "0",
    davis: tuple[float, float] = (0.5, 0.5),
    twin: bool = False,
) -> QueryScore:
    words = f"class {class_id}", video, expression_id, "a dax"
    return QueryScore(seed, group, probe, 0, class_id, *words, frames, j, f, *davis, twin)


def many(seeds: int = 1, groups: tuple[int, ...] = (1,), probe: str = "", shift: float = 0.0) -> list[QueryScore]:
    """Twenty videos of four classes with two expressions each, per seed and group."""
    rng = np.random.default_rng(7)
    keys = [(s, g, v, e) for s in range(seeds) for g in groups for v in range(20) for e in range(2)]
    return [
        query(
            *np.clip(rng.normal(0.6 + shift, 0.1, 2), 0, 1),
            seed=s,
            group=g,
            probe=probe,
            video=f"v{v:02d}",
            class_id=g + 4 * (v % 4),
            frames=int(rng.integers(5, 40)),
            expression_id=str(e),
            davis=tuple(np.clip(rng.normal(0.5, 0.1, 2), 0, 1)),
        )
        for s, g, v, e in keys
    ]


def test_the_three_averages_by_hand() -> None:
    report = Report(
        [
            query(1.0, 0.8, video="a", class_id=1, frames=10, davis=(0.9, 0.7)),
            query(0.0, 0.2, video="b", class_id=1, frames=30, davis=(0.1, 0.3)),
            query(0.5, 0.6, video="c", class_id=5, frames=40, davis=(0.2, 0.2)),
        ],
        bootstrap=0,
    )
    assert report.value("J") == pytest.approx((10 * 1.0 + 30 * 0.0 + 40 * 0.5) / 80)
    assert report.value("F") == pytest.approx((10 * 0.8 + 30 * 0.2 + 40 * 0.6) / 80)
    assert report.value("J", protocol="cma_per_class") == pytest.approx((0.25 + 0.5) / 2)
    assert report.value("J", protocol="davis") == pytest.approx((0.9 + 0.1 + 0.2) / 3)
    assert report.value("J&F") == pytest.approx((report.value("J") + report.value("F")) / 2)
    assert report.per_class()["class 1"] == {"J": 0.25, "F": pytest.approx(0.35), "queries": 2, "frames": 40}


def test_pooled_average_is_that_of_the_official_accumulator() -> None:
    rng = np.random.default_rng(1)
    accumulator, scores = CmaAccumulator(), []
    for k in range(5):
        pred = rng.random((k + 2, 20, 30)) < 0.5
        truth = pred ^ (rng.random(pred.shape) < 0.2)
        accumulator.update(pred, truth)
        j, f = frame_scores(pred, truth)
        scores.append(query(j.mean(), f.mean(), video=f"v{k}", frames=len(pred)))
    report = Report(scores, bootstrap=0)
    assert report.value("J") == pytest.approx(accumulator.compute().j, abs=1e-12)
    assert report.value("F") == pytest.approx(accumulator.compute().f, abs=1e-12)


def test_mean_over_groups_and_seeds() -> None:
    values = {(0, 1): 0.2, (1, 1): 0.4, (0, 2): 0.6, (1, 2): 1.0}
    report = Report([query(j, seed=seed, group=group) for (seed, group), j in values.items()], bootstrap=0)
    assert report.value("J", group=1) == pytest.approx(0.3)
    assert report.value("J") == pytest.approx(0.55)
    mean = report.fold().estimates["cma"]["J"]
    assert mean.per_seed == pytest.approx((0.4, 0.7))
    assert mean.over_seeds == pytest.approx((0.55 - 12.7062 * 0.15, 0.55 + 12.7062 * 0.15), abs=1e-4)  # t(1 df)
    assert (report.fold().queries, report.fold().seeds, report.fold().frames) == (4, (0, 1), 40)


def test_groups_with_other_seeds_still_have_a_mean() -> None:
    report = Report([query(0.2, seed=0, group=1), query(0.4, seed=1, group=1), query(0.9, seed=0, group=2)])
    assert report.value("J") == pytest.approx((0.3 + 0.9) / 2)
    assert report.fold().estimates["cma"]["J"].over_seeds is None


def test_t_interval_needs_two_seeds() -> None:
    assert t_interval([0.5]) is None
    assert t_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_bootstrap_interval(protocol: str) -> None:
    report = Report(many(seeds=2, groups=(1, 2)), protocol=protocol, bootstrap=1000)
    for group in (1, 2, None):
        estimate = report.fold(group).estimates[protocol]["J"]
        low, high = estimate.bootstrap
        assert low < estimate.value < high
        assert 0.005 < high - low < 0.1  # 20 videos with a spread of about 0.1 / sqrt(4 scores each)
    widths = [np.ptp(report.fold(group).estimates[protocol]["J"].bootstrap) for group in (1, 2, None)]
    assert widths[2] < min(widths[:2])


def test_bootstrap_is_deterministic_and_depends_on_its_seed() -> None:
    scores = many()
    first, again, other = (
        Report(list(order), bootstrap=200, random_seed=seed).fold().estimates["cma"]["J"].bootstrap
        for order, seed in ((scores, 0), (reversed(scores), 0), (scores, 1))
    )
    assert first == pytest.approx(again, abs=1e-12) and first != other


def test_bootstrap_covers_the_truth() -> None:
    rng, hits = np.random.default_rng(0), 0
    for _ in range(100):
        scores = [query(j, video=f"v{k}") for k, j in enumerate(np.clip(rng.normal(0.6, 0.1, 40), 0, 1))]
        low, high = Report(scores, bootstrap=300).fold().estimates["cma"]["J"].bootstrap
        hits += low <= 0.6 <= high
    assert 85 <= hits <= 100


def test_videos_stay_together_in_the_bootstrap() -> None:
    """Repeating every video's score under more expressions adds no information, so the interval must not shrink."""
    rng = np.random.default_rng(0)
    once = [query(j, video=f"v{k}") for k, j in enumerate(rng.uniform(0.3, 0.9, 30))]
    often = [replace(score, expression_id=str(e)) for score in once for e in range(8)]
    widths = [np.ptp(Report(s, bootstrap=500).fold().estimates["cma"]["J"].bootstrap) for s in (once, often)]
    assert widths[0] == pytest.approx(widths[1])


def test_a_video_stays_together_although_it_is_asked_about_for_several_classes() -> None:
    rng = np.random.default_rng(0)
    once = [query(j, video=f"v{k}") for k, j in enumerate(rng.uniform(0.3, 0.9, 30))]
    often = [replace(score, class_id=c, class_name=f"class {c}") for score in once for c in (1, 5, 9)]
    better = [[replace(s, j_cma=s.j_cma + 0.1 * s.j_cma**2) for s in scores] for scores in (once, often)]
    for protocol in ("cma", "cma_per_class", "davis"):
        found = [Report(s, bootstrap=500).fold().estimates[protocol]["J"].bootstrap for s in (once, often)]
        assert found[0] == pytest.approx(found[1]), protocol
    paired = [compare(a, b, bootstrap=500).differences[0] for a, b in zip((once, often), better, strict=True)]
    assert paired[0].interval == pytest.approx(paired[1].interval)
    one = [query(video="v", class_id=c) for c in (1, 5)]
    assert Report(one).fold().estimates["cma"]["J"].bootstrap is None


def test_one_video_has_no_bootstrap_interval() -> None:
    assert Report([query()]).fold().estimates["cma"]["J"].bootstrap is None


def test_probes_stand_beside_the_numbers() -> None:
    report = Report(many() + many(probe="wrong_support", shift=-0.3) + [query(0.1, 0.1, probe="no_support")])
    assert report.probes == ("", "wrong_support", "no_support")
    lines = report.table().splitlines()
    header = next(line for line in lines if line.startswith("group"))
    assert header.endswith("wrong_support J / F  no_support J / F")
    mean = next(line for line in lines if line.startswith("mean")).split()
    assert mean[-3:] == ["10.0", "/", "10.0"]
    assert float(mean[2]) - float(mean[5]) == pytest.approx(30, abs=4)
    assert "probes on other queries than the 40: no_support on 1" in lines
    assert report.summary()["wrong_support/J"] == pytest.approx(100 * report.value("J", "wrong_support"))


def test_table_shows_card_groups_and_all_protocols() -> None:
    text = Report(many(groups=(1, 3)), card="the card", bootstrap=50).table()
    assert text.startswith("the card")
    assert [line.split()[0] for line in text.splitlines() if line[:1].isdigit()] == 2 * ["1", "3"]
    for name in ("cma", "cma_per_class", "davis"):
        assert f"\n{name} " in text
    assert "\nclean" not in text, "numbers of another list of queries do not follow from these scores"


def test_queries_with_a_twin_stand_beside_the_others() -> None:
    scores = [
        query(0.2, 0.1, video="a", frames=10, twin=True),
        query(0.4, 0.3, video="b", frames=30, twin=True),
        query(0.9, 0.8, video="a", frames=10, expression_id="1"),
        query(0.6, 0.6, video="c", frames=10, group=2),
        query(0.1, 0.1, video="b", frames=30, twin=True, probe="no_support"),
    ]
    report = Report(scores, card="protocol     : cma", bootstrap=0)
    found = {(part.group, part.probe, part.twin): part for part in report.twins}
    assert (
        found[1, "", True].values["J"] == pytest.approx((10 * 0.2 + 30 * 0.4) / 40) and found[1, "", True].queries == 2
    )
    assert found[None, "", True].values == found[1, "", True].values, "the mean over the folds that have such queries"
    assert found[None, "", False].values["J"] == pytest.approx((0.9 + 0.6) / 2)
    assert (2, "", True) not in found and (None, "no_support", False) not in found
    lines = report.table().split("queries with and without a twin")[1].splitlines()
    assert lines[1].split() == ["group", "with", "twin", "J", "F", "without", "twin", "J", "F"]
    assert [line.split() for line in lines[3:7]] == [
        ["1", "2", "35.0", "25.0", "1", "90.0", "80.0"],
        ["2", "-", "-", "-", "1", "60.0", "60.0"],
        ["mean", "2", "35.0", "25.0", "2", "75.0", "70.0"],
        ["mean", "no_support", "1", "10.0", "10.0", "-", "-", "-"],
    ]
    card = report.to_json()["card"][-1]
    assert card.startswith("twins        : 2 of 4 queries have a twin: another object of the same class in the video")
    assert card.endswith("; with J 35.0, F 25.0; without J 75.0, F 70.0")
    assert report.to_json()["twins"][0]["queries"] == 2
    assert report.summary()["with_twin/J"] == pytest.approx(35) and report.summary()["without_twin/F"] == pytest.approx(
        70
    )


def test_without_any_twin_there_is_no_word_of_twins() -> None:
    report = Report(many(), bootstrap=0)
    assert "twin" not in report.table() and "twins" not in report.to_json() and "with_twin/J" not in report.summary()


def test_scores_of_before_the_column_of_twins_are_read(tmp_path: Path) -> None:
    scores = [query(video="a", twin=True), query(video="b")]
    for name, write in (("s.csv", Report.write_csv), ("s.json", Report.write_json)):
        write(Report(scores, bootstrap=0), tmp_path / name)
        assert read_scores(tmp_path / name) == scores
    lines = (tmp_path / "s.csv").read_text().splitlines()
    (tmp_path / "old.csv").write_text("\n".join(line.rpartition(",")[0] for line in lines))
    assert read_scores(tmp_path / "old.csv") == [replace(score, twin=False) for score in scores]
    (tmp_path / "odd.csv").write_text("\n".join([*lines[:1], lines[1].replace("True", "perhaps")]))
    with pytest.raises(ValueError, match="odd.csv: query 1 is broken .'perhaps' is neither True nor False"):
        read_scores(tmp_path / "odd.csv")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_printed_card_is_at_most_100_columns_wide(protocol: str) -> None:
    card = PROTOCOLS[protocol].card(start_weights="referformer.pth", checkpoint="test")
    report = Report([query(twin=True)], protocol=protocol, card=card, bootstrap=0)
    printed = report.table().split("\n\n")[0].splitlines()
    assert max(map(len, printed)) <= 100 and len(printed) > len(report.to_json()["card"])
    assert " ".join(" ".join(printed).split()) == " ".join(" ".join(report.to_json()["card"]).split()), (
        "no word is lost"
    )
    starts = [line for line in printed if not line.startswith(" " * 15)]
    assert [line.partition(":")[0] for line in starts] == [line.partition(":")[0] for line in report.to_json()["card"]]


def test_a_probe_of_some_groups_only() -> None:
    report = Report(many(groups=(1, 2)) + many(groups=(2,), probe="no_support"), bootstrap=0)
    row = next(line for line in report.table().splitlines() if line.startswith("1 "))
    assert row.split()[-1] == "-"
    with pytest.raises(ValueError, match="group 1, probe 'no_support'"):
        report.value("J", "no_support", group=1)


def test_files_can_be_read_back(tmp_path: Path) -> None:
    scores = many(seeds=2) + [query(probe="no_support", expression_id="e,1")]
    report = Report(scores, bootstrap=50)
    report.write_csv(tmp_path / "deep" / "scores.csv")
    report.write_json(tmp_path / "deep" / "report.json")
    assert read_scores(tmp_path / "deep" / "scores.csv") == scores
    assert read_scores(tmp_path / "deep" / "report.json") == scores
    content = json.loads((tmp_path / "deep" / "report.json").read_text())
    mean = next(fold for fold in content["folds"] if fold["group"] is None and fold["probe"] == "")
    assert mean["estimates"]["cma"]["J"]["value"] == report.value("J")


def test_files_that_are_no_reports(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a file"):
        read_scores(tmp_path / "a.csv")
    for name, text in (("a.csv", ""), ("b.csv", "seed,group\n1,2\n"), ("c.json", "[]"), ("d.json", "{}")):
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match="holds no query scores"):
            read_scores(tmp_path / name)
    Report([query()]).write_csv(tmp_path / "cut.csv")
    (tmp_path / "cut.csv").write_text((tmp_path / "cut.csv").read_text()[:-30])
    with pytest.raises(ValueError, match="query 1 .*cut off"):
        read_scores(tmp_path / "cut.csv")


@pytest.mark.parametrize("change", [{"j": float("nan")}, {"f": 1.1}, {"frames": 0}])
def test_impossible_scores(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="video 'v'"):
        query(**change)


def test_impossible_reports() -> None:
    with pytest.raises(ValueError, match="probe ''"):
        Report([query(probe="no_support")])
    with pytest.raises(ValueError, match="scored twice"):
        Report([query(), query(0.9)])
    with pytest.raises(ValueError, match="unknown protocol"):
        Report([query()], protocol="cmaa")
