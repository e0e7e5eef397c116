"""The leak line: what a system may know of the tested classes beside what its supports show."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from episodes.catalogue import folds_of
from episodes.sources.tasks import open_task_source
from fewshot.evaluation.benchmark import ImageBenchmark, open_benchmark
from fewshot.evaluation.folds import run_test
from fewshot.evaluation.leak import (
    Past,
    classes_shown,
    leak,
    lines,
    name_given,
    names_shown,
    queries_shown,
    task_leak,
)
from fewshot.evaluation.report import Origin
from fewshot.weights.trained_on import TrainedOn
from tests.episodes.image_tree import MemoryImages
from tests.episodes.memory import MemorySource, memory_specs
from tests.episodes.tree import TinyVideo
from tests.fewshot.evaluation.oracle import Oracle, settings
from tests.fewshot.evaluation.tasks.trees import write_ref_davis

WORDS = frozenset({"support", "expression"})
VOC = folds_of("pascal5i")
OTHERS = tuple(VOC.class_name(c) for c in VOC.train_classes(0))


def test_words_that_name_the_class_are_counted() -> None:
    specs = memory_specs(MemorySource())
    assert name_given({"support"}, specs).answer == "no"
    assert str(name_given(WORDS, specs)) == "no (the words of 0 of 12 queries name it)", "class1_0 is another word"

    def named(text: str, which: slice = slice(None)) -> list:
        return [
            replace(spec, class_name="giant_panda", queries=tuple(replace(q, expression=text) for q in spec.queries))
            if spec in specs[which]
            else spec
            for spec in specs
        ]

    assert name_given(WORDS, named("two Giant Pandas left")).answer == "yes"
    assert str(name_given(WORDS, named("a giant panda", slice(2)))) == "in part (the words of 4 of 12 queries name it)"
    assert name_given(WORDS, named("a giant pandaren")).answer == "no"
    silent = [replace(s, supports=(), queries=tuple(replace(q, expression=None) for q in s.queries)) for s in specs]
    assert str(name_given(WORDS, silent)) == "no (the episodes have no words)"


@pytest.mark.parametrize(
    ("past", "said"),
    [
        (Past(), "no (nothing was trained)"),
        (Past(None), "not known (the weights do not tell what they were trained on)"),
        (Past((TrainedOn("pascal5i", 0, OTHERS),)), "no (declared by the weights)"),
        (Past((TrainedOn("pascal5i", 0),)), "no (declared by the weights)"),
        (Past((TrainedOn("pascal5i", 0, OTHERS),), ("r50.pth",)), "not known (what r50.pth showed)"),
        (Past((TrainedOn("start.pth"),), ("r50.pth", "start.pth")), "not known (what r50.pth, start.pth showed)"),
        (
            Past((TrainedOn("web", None, ("airplane", "boat", "zebra")),)),
            "in part (2 of 5, declared by the weights: aeroplane, boat)",
        ),
        (Past((TrainedOn("coco20i", None, ("airplane", "bicycle", "bird", "boat", "bottle")),)), "yes (5 of 5, "),
    ],
)
def test_classes_are_those_that_the_weights_declare(past: Past, said: str) -> None:
    assert str(classes_shown(past, VOC, 0)).startswith(said)


def test_queries_are_compared_with_the_training_videos_of_the_same_data() -> None:
    source = MemorySource(groups=(1, 2))
    source.folds = replace(source.folds, test_only=False)
    benchmark = open_benchmark(settings(), source)
    specs = memory_specs(source)
    trained = TrainedOn("memory", 1, ("class2",))
    assert str(queries_shown(Past((trained,)), benchmark, specs)) == "in part (2 of 6 videos may train too)"
    first = [spec for spec in specs if spec.class_id == 1]
    assert str(queries_shown(Past((trained,)), benchmark, first)) == "no (the training videos are others)"
    elsewhere = Past((trained, TrainedOn("coco20i", 1)), ("r50.pth",))
    assert str(queries_shown(elsewhere, benchmark, first)) == "not known (what r50.pth, coco20i showed)"
    assert str(queries_shown(Past(), benchmark, first)) == "no (nothing was trained)"
    assert queries_shown(Past(None), benchmark, first).answer == "not known"


def test_the_split_of_images_tells_training_and_test_apart() -> None:
    config = settings()
    config.benchmark.protocol, config.group, config.seed = "hsnet", 0, 0
    source = MemoryImages({f"{split}{k}": {c: 9} for split in "tr" for k, c in enumerate((1, 1, 1, 6, 6, 6))})
    benchmark = open_benchmark(config, source)
    assert isinstance(benchmark, ImageBenchmark)
    assert benchmark.trains_on([1, 6]) == {f"r{k}" for k in range(6)}


def test_results_and_card_hold_the_leak_line(tmp_path: Path) -> None:
    origin = Origin("given", "model.pth", Past(None, ("model.pth",)))
    report = run_test(Oracle(), open_benchmark(settings(), MemorySource()), 1, tmp_path, origin)
    found = json.loads((tmp_path / "results.json").read_text())["run"]["groups"]["1"]["leak"]
    assert {name: answer["answer"] for name, answer in found.items()} == {
        "class_name": "no",
        "test_classes": "not known",
        "images": "not known",
    }
    told = next(line for line in report.card.splitlines() if line.startswith("leak"))
    assert "class name given: no (" in told and "queries seen in training: not known (the weights do not" in told


def test_a_test_of_a_task_knows_what_stages_on_its_data_set_have_shown(tmp_path: Path) -> None:
    root = write_ref_davis(tmp_path / "davis", {name: TinyVideo({1: "dog"}, []) for name in "ab"})
    said, of_train = (root / "meta_expressions" / split / "meta_expressions.json" for split in ("valid", "train"))
    (root / "train").symlink_to(root / "valid")
    of_train.parent.mkdir()

    def told(*trained: TrainedOn) -> dict[str, str]:
        line = task_leak(open_task_source("ref_davis17", root, "valid"), Past(trained), root)
        return {name: answer["answer"] for name, answer in line.to_json().items()}

    same, other = (TrainedOn("ref_davis17", split=split) for split in ("valid", "train"))
    assert told() == {"class_name": "yes", "test_classes": "no", "images": "no"}
    assert told(same, TrainedOn("r50.pth")) == {"class_name": "yes", "test_classes": "not known", "images": "yes"}
    assert told(other)["images"] == told(TrainedOn("ref_davis17"))["images"] == "not known", "there is no such split"
    videos = json.loads(said.read_text())["videos"]
    of_train.write_text(json.dumps({"videos": {"a": videos["a"]}}))
    assert told(other)["images"] == "in part"
    of_train.write_text(json.dumps({"videos": {"a": videos["a"]}}))
    said.write_text(json.dumps({"videos": {"b": videos["b"]}}))
    assert told(other)["images"] == "no"


def test_a_task_with_names_asks_which_of_them_a_training_has_shown() -> None:
    assert str(names_shown(Past((TrainedOn("things", None, ("airplane", "cup"), "train"),)), ("aeroplane", "cat"))) == (
        "in part (1 of 2, declared by the weights: aeroplane)"
    )


def test_the_past_is_told_in_words(tmp_path: Path) -> None:
    assert [str(past) for past in (Past(), Past(None), Past((), ("r50.pth",)))] == ["none", "not known", "r50.pth"]
    assert (
        str(Past((TrainedOn("synthetic", 1), TrainedOn("start.pth")), ("r50.pth",))) == "synthetic, start.pth, r50.pth"
    )
    run_test(Oracle(), open_benchmark(settings(), MemorySource()), 1, tmp_path, Origin())
    assert json.loads((tmp_path / "results.json").read_text())["run"]["groups"]["1"]["training"] == "none"


def test_groups_with_the_same_answers_share_a_line() -> None:
    benchmark, specs = open_benchmark(settings(), MemorySource()), memory_specs(MemorySource())
    known, silent = (leak(WORDS, benchmark, specs, past) for past in (Past(), Past(None)))
    assert lines({1: known, 2: known}) == [known.line()]
    assert lines({1: known, 2: silent}) == [f"group 1: {known.line()}", f"group 2: {silent.line()}"]
