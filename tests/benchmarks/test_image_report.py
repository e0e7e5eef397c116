"""Reports of few-shot image segmentation: ratios of sums by hand, intervals, probes, files and comparison."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.compare import compare, compare_reports
from benchmarks.metrics.fss import FssAccumulator
from benchmarks.metrics.iou import PairCounts
from benchmarks.report import Report
from benchmarks.scores.scores import ImageScore, read_scores
from tests.benchmarks.test_report import query


def image(
    inter: int = 40,
    union: int = 50,
    *,
    total: int = 100,
    seed: int = 0,
    group: int = 0,
    probe: str = "",
    episode: int = 0,
    class_id: int = 1,
    name: str | None = None,
) -> ImageScore:
    """A query image of `total` pixels; as many are background in both masks as its foreground leaves."""
    background = total - union, total - inter
    name = f"image {episode}" if name is None else name
    counts = background[0], inter, background[1], union
    return ImageScore(seed, group, probe, episode, class_id, f"class {class_id}", name, *counts)


def many(
    seeds: int = 1, groups: tuple[int, ...] = (0,), probe: str = "", shift: float = 0.0, draw: int = 7
) -> list[ImageScore]:
    """Sixty images of five classes, per seed and group."""
    rng = np.random.default_rng(draw)
    scores = []
    for seed, group, episode in np.ndindex(seeds, len(groups), 60):
        union = int(rng.integers(100, 5000))
        inter = int(union * np.clip(rng.normal(0.6 + shift, 0.15), 0, 1))
        place = {"seed": seed, "group": groups[group], "episode": episode, "class_id": 5 * groups[group] + episode % 5}
        scores.append(image(inter, union, total=9000, probe=probe, **place))
    return scores


def test_ratios_of_sums_by_hand() -> None:
    report = Report(
        [
            image(10, 40, total=100, episode=0, class_id=1),
            image(60, 80, total=100, episode=1, class_id=1),
            image(30, 50, total=200, episode=2, class_id=2),
        ],
        protocol="hsnet",
        bootstrap=0,
    )
    foreground, background = 100 / 170, (60 + 20 + 150) / (90 + 40 + 170)
    assert report.value("mIoU") == pytest.approx((70 / 120 + 30 / 50) / 2)
    assert report.value("FB-IoU") == pytest.approx((foreground + background) / 2)
    assert report.value("mean episode IoU") == pytest.approx((0.25 + 0.75 + 0.6) / 3)
    assert report.per_class()["class 1"] == {"IoU": pytest.approx(70 / 120), "queries": 2, "images": 2}
    assert report.value() == report.value("mIoU")
    with pytest.raises(ValueError, match="unknown measure 'J'.*'mIoU', 'FB-IoU'"):
        report.value("J")


def test_mean_over_images() -> None:
    scores = [image(10, 40, episode=0), image(60, 80, episode=1), image(0, 0, episode=2, class_id=2)]
    report = Report(scores, protocol="uniref", bootstrap=0)
    assert report.value("mIoU") == pytest.approx((0.25 + 0.75 + 0) / 3)
    assert report.value("FB-IoU") == Report(scores, bootstrap=0).value("FB-IoU")
    assert report.definition.extras == ()


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50), st.sampled_from([1, 2, 3])), min_size=1, max_size=20))
def test_report_and_accumulator_agree(episodes: list[tuple[int, int, int]]) -> None:
    accumulator = FssAccumulator(sorted({class_id for *_, class_id in episodes}))
    scores = []
    for index, (inter, more, class_id) in enumerate(episodes):
        scores.append(image(inter, inter + more, episode=index, class_id=class_id))
        score = scores[-1]
        accumulator.update(
            PairCounts(score.inter_bg, score.inter_fg, score.union_bg, score.union_fg, 0, 0), class_id=class_id
        )
    report, expected = Report(scores, bootstrap=0), accumulator.compute()
    assert (report.value("mIoU"), report.value("FB-IoU")) == (expected.miou, expected.fb_iou)  # bit by bit
    assert {name: row["IoU"] for name, row in report.per_class().items()} == pytest.approx(
        {f"class {class_id}": pair[1] for class_id, pair in expected.classes.items()}
    )


def test_mean_over_groups_and_seeds() -> None:
    inter = {(0, 0): 10, (1, 0): 20, (0, 1): 30, (1, 1): 50}
    report = Report([image(i, 50, seed=seed, group=group) for (seed, group), i in inter.items()], bootstrap=0)
    assert report.value("mIoU", group=0) == pytest.approx(0.3)
    assert report.value("mIoU") == pytest.approx(0.55)
    mean = report.fold().estimates["hsnet"]["mIoU"]
    assert mean.per_seed == pytest.approx((0.4, 0.7))
    assert mean.over_seeds == pytest.approx((0.55 - 12.7062 * 0.15, 0.55 + 12.7062 * 0.15), abs=1e-4)  # t(1 df)
    assert (report.fold().queries, report.fold().units, report.fold().classes, report.groups) == (4, 2, 2, (0, 1))


@pytest.mark.parametrize("protocol", ["hsnet", "uniref"])
def test_bootstrap_interval(protocol: str) -> None:
    report = Report(many(seeds=2, groups=(0, 3)), protocol=protocol, bootstrap=500)
    widths = []
    for group in (0, 3, None):
        for measure in ("mIoU", "FB-IoU"):
            estimate = report.fold(group).estimates[protocol][measure]
            low, high = estimate.bootstrap
            assert low < estimate.value < high
            assert high - low < 0.1
        low, high = report.fold(group).estimates[protocol]["mIoU"].bootstrap
        widths.append(high - low)
    assert widths[2] < min(widths[:2])


def test_bootstrap_covers_the_truth() -> None:
    """Sizes and qualities are drawn anew each time; the truth is the ratio of their expectations."""
    rng, hits = np.random.default_rng(0), 0
    for _ in range(60):
        scores = []
        for episode in range(60):
            union = int(rng.integers(100, 1000))
            inter = int(rng.binomial(union, rng.uniform(0.4, 0.8)))
            scores.append(image(inter, union, total=1000, episode=episode, class_id=episode % 3))
        low, high = Report(scores, bootstrap=300).fold().estimates["hsnet"]["mIoU"].bootstrap
        hits += low <= 0.6 <= high
    assert 50 <= hits <= 60


def test_without_a_second_image_of_any_class_there_is_no_interval() -> None:
    one_each = [image(episode=k, class_id=k + 1, name=f"i{k}") for k in range(3)]
    assert Report(one_each, protocol="hsnet", bootstrap=50).fold(0).estimates["hsnet"]["mIoU"].bootstrap is None


def test_no_class_is_lost_in_the_bootstrap() -> None:
    """Two images each of a good and a bad class: resampled within the classes, mIoU stays between its extremes."""
    scores = [image(i, 50, episode=k, class_id=c) for k, (i, c) in enumerate([(40, 1), (50, 1), (0, 2), (10, 2)])]
    low, high = Report(scores, bootstrap=400).fold().estimates["hsnet"]["mIoU"].bootstrap
    assert (low, high) == pytest.approx((0.4, 0.6))


def test_episodes_of_one_image_stay_together() -> None:
    """A list that is gone through four times adds no information, so the interval must not shrink."""
    once = many()
    often = [replace(score, episode=60 * k + score.episode) for k in range(4) for score in once]
    widths = [np.ptp(Report(s, bootstrap=300).fold().estimates["hsnet"]["mIoU"].bootstrap) for s in (once, often)]
    assert widths[0] == pytest.approx(widths[1])
    assert Report([image()]).fold().estimates["hsnet"]["mIoU"].bootstrap is None


@pytest.mark.parametrize("protocol", ["hsnet", "uniref"])
def test_an_image_of_several_classes_stays_together(protocol: str) -> None:
    once = [replace(score, class_id=1) for score in many()]
    often = [replace(score, class_id=c, episode=60 * c + score.episode) for c in (1, 2, 3) for score in once]
    for measure in ("mIoU", "FB-IoU"):
        found = [Report(s, protocol, bootstrap=300).fold().estimates[protocol][measure] for s in (once, often)]
        assert found[0].bootstrap == pytest.approx(found[1].bootstrap)


def test_a_class_that_a_seed_never_drew_is_left_out_of_that_seed() -> None:
    scores = [image(10, 50, class_id=1), image(50, 50, class_id=2, episode=1), image(20, 50, class_id=1, seed=1)]
    assert Report(scores, bootstrap=0).fold().estimates["hsnet"]["mIoU"].per_seed == pytest.approx((0.6, 0.4))


def test_table_and_summary() -> None:
    scores = many(groups=(0, 2)) + many(groups=(0, 2), probe="wrong_support", shift=-0.3, draw=9)
    report = Report(scores, protocol="pfenet", bootstrap=50)
    text = report.table()
    assert text.startswith("protocol     : pfenet")
    lines = text.splitlines()
    assert "mIoU and FB-IoU in percent, protocol pfenet" in lines
    header = next(line for line in lines if line.startswith("group"))
    assert header.split("  ")[-1].strip() == "wrong_support mIoU / FB-IoU"
    assert "mean episode IoU is another statistic than mIoU (a ratio of sums per class)" in lines
    assert "intervals (95 %): bootstrap over episodes (query images), Student's t over seeds" in lines
    assert any(line.startswith("class 10 ") for line in lines)
    assert "under every protocol" not in text
    summary = report.summary()
    keys = {"miou", "fb_iou"}
    prefixes = {"", "group_0/", "group_2/", "wrong_support/"}
    assert summary.keys() == {prefix + key for prefix in prefixes for key in keys}
    assert summary["wrong_support/miou"] == 100 * report.value("mIoU", "wrong_support")


def test_a_long_list_of_classes_is_left_to_the_file() -> None:
    scores = [image(episode=k, class_id=k) for k in range(101)]
    report = Report(scores, bootstrap=0)
    assert "classes: 101, listed in the JSON file" in report.table()
    assert len(report.to_json()["classes"]["main"]) == 101


def test_files_can_be_read_back(tmp_path: Path) -> None:
    scores = many(seeds=2) + [image(probe="no_support", name='a "b", c')]
    report = Report(scores, protocol="uniref", bootstrap=20)
    report.write_csv(tmp_path / "scores.csv")
    report.write_json(tmp_path / "report.json")
    assert read_scores(tmp_path / "scores.csv") == scores
    assert read_scores(tmp_path / "report.json") == scores
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["bootstrap"]["unit"] == "query image"
    mean = next(fold for fold in content["folds"] if fold["group"] is None and fold["probe"] == "")
    assert mean["estimates"]["uniref"]["mIoU"]["value"] == report.value("mIoU")


def test_a_kind_of_scores_and_its_protocols() -> None:
    with pytest.raises(ValueError, match="'cma' averages QueryScore, got ImageScore"):
        Report([image()], protocol="cma")
    with pytest.raises(ValueError, match="'hsnet' averages ImageScore, got QueryScore"):
        Report([query()], protocol="hsnet")
    with pytest.raises(ValueError, match="got QueryScore"):
        Report([image(), query()])
    with pytest.raises(ValueError, match=r"scored twice: \(seed, group, probe, episode, class, image\)"):
        Report([image(), image(1)])
    assert Report([image()]).protocol == "hsnet" and Report([query()]).protocol == "cma"


@pytest.mark.parametrize("counts", [(50, 41, 60, 40), (-1, 40, 9, 50), (50, 40, 60, 51)])
def test_impossible_counts(counts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="episode 3, image 'a': impossible pixel counts"):
        ImageScore(0, 0, "", 3, 1, "c", "a", *counts)


def better(scores: list[ImageScore], by: float) -> list[ImageScore]:
    """The same episodes with a share of the wrong pixels put right."""
    gains = [int(by * (s.union_fg - s.inter_fg)) for s in scores]
    return [
        replace(s, inter_fg=s.inter_fg + g, union_bg=s.union_bg - g) if s.union_bg - g >= s.inter_bg else s
        for s, g in zip(scores, gains, strict=True)
    ]


def test_a_small_steady_gain_is_found_on_the_same_episodes() -> None:
    a = many(groups=(0, 1))
    b = better(a, 0.03)
    alone = [Report(s, bootstrap=300).fold().estimates["hsnet"]["mIoU"].bootstrap for s in (a, b)]
    assert alone[0][1] > alone[1][0]  # the intervals of the runs overlap
    found = compare(a, b[::-1], bootstrap=300)
    mean = next(d for d in found.differences if (d.group, d.measure) == (None, "mIoU"))
    assert 0 < mean.interval[0] < mean.value < mean.interval[1] < 0.03
    assert mean.p < 0.01
    assert [d.measure for d in found.differences[:2]] == ["mIoU", "FB-IoU"]
    for difference in found.differences:
        for scores, value in ((a, difference.a), (b, difference.b)):
            assert Report(scores, bootstrap=0).value(difference.measure, "", difference.group) == pytest.approx(value)


def test_comparing_kinds_or_protocols_that_do_not_fit(tmp_path: Path) -> None:
    a, files = many(), [str(tmp_path / name) for name in ("a.json", "b.json", "c.json")]
    with pytest.raises(ValueError, match="share no query"):
        compare(a, [query()])
    with pytest.raises(ValueError, match="'davis' averages QueryScore"):
        compare(a, a, "davis")
    for path, protocol in zip(files, ("hsnet", "uniref", "uniref"), strict=True):
        Report(better(a, 0.1) if path == files[2] else a, protocol=protocol, bootstrap=0).write_json(path)
    with pytest.raises(ValueError, match="of the protocols hsnet and uniref: say which"):
        compare_reports(*files[:2])
    with pytest.raises(ValueError, match="counted by protocol hsnet and cannot give the numbers of uniref"):
        compare_reports(*files[:2], protocol="uniref")
    found = compare_reports(*files[1:], bootstrap=50)  # the protocol is the one that both reports name
    mean = next(d for d in found.differences if (d.group, d.measure) == (None, "mIoU"))
    assert mean.a == Report(a, protocol="uniref", bootstrap=0).value()
