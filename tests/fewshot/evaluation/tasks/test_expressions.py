"""J and F of expressions on their own objects, and the words of other classes of objects."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.masks.submission import write_results
from episodes.sources.ref_video import RefVideoSource
from episodes.sources.tasks import open_task_source
from fewshot.evaluation.tasks.expressions import items_of, score_expressions, shuffled
from fewshot.evaluation.tasks.measures import expression_measures
from fewshot.evaluation.tasks.samples import samples_of
from tests.episodes.tree import TinyVideo
from tests.fewshot.evaluation.tasks.trees import write_ref_davis


@pytest.fixture
def source(tmp_path: Path) -> RefVideoSource:
    """A video with two dogs, and one with a dog and a cat; four expressions of each object."""
    videos = {"v": TinyVideo({1: "dog", 2: "dog"}, []), "w": TinyVideo({1: "dog", 2: "cat"}, [])}
    root = write_ref_davis(tmp_path / "data", videos)
    rows = {k: {"objects": {str(o): {"category": c} for o, c in video.objects.items()}} for k, video in videos.items()}
    (root / "valid" / "meta.json").write_text(json.dumps({"videos": rows}))
    found = open_task_source("ref_youtube_vos", root)
    assert isinstance(found, RefVideoSource)
    return found


def write(source: RefVideoSource, folder: Path, wrong: str) -> None:
    """True masks, of video `wrong` those of the other object."""
    for item in source.items():
        meant = item.object_id or 0
        masks = source.read_masks(item.video, item.frames, 3 - meant if item.video == wrong else meant)
        write_results(source.name, folder, item, item.frames, masks.numpy())


def test_each_expression_is_scored_on_its_own_object_and_those_with_a_twin_apart(source, tmp_path: Path) -> None:
    samples = samples_of(source.items())
    write(source, tmp_path / "true", wrong="")
    write(source, tmp_path / "twins", wrong="v")
    right, exchanged = (score_expressions(source, samples, tmp_path / name) for name in ("true", "twins"))
    assert [score.twin for score in right] == [True] * 8 + [False] * 8
    assert all(score.j == score.f == 1 for score in right)
    measures = expression_measures(exchanged, {"shuffled_text": right})
    f = sum(score.f for score in exchanged) / 16
    assert measures.values == {"J": 0.5, "F": pytest.approx(f), "J&F": pytest.approx((0.5 + f) / 2)}
    assert list(measures.beside) == [
        "with a twin (8 of 16)",
        "without a twin (8 of 16)",
        "shuffled_text",
        "shuffled_text, with a twin",
        "shuffled_text, without a twin",
    ]
    assert [row["J"] for row in measures.beside.values()] == [0, 1, 1, 1, 1]
    assert measures.objects["v/0"] == (0.0, exchanged[0].f) and "with a twin (8 of 16)" in measures.table()


def test_an_expression_of_an_object_that_never_appears_is_told(tmp_path: Path) -> None:
    root = write_ref_davis(tmp_path / "data", {"v": TinyVideo({1: "dog", 2: "cat"}, [])})
    lists = root / "meta_expressions/valid/meta_expressions.json"
    content = json.loads(lists.read_text())
    for key in ("4", "5"):
        content["videos"]["v"]["expressions"][key]["obj_id"] = "9"
    lists.write_text(json.dumps(content))
    source = open_task_source("ref_youtube_vos", root)
    assert isinstance(source, RefVideoSource)
    for item in source.items():
        write_results(source.name, tmp_path / "out", item, item.frames, np.zeros((len(item.frames), 12, 16), bool))
    (note,) = expression_measures(score_expressions(source, samples_of(source.items()), tmp_path / "out"), {}).notes
    assert note.startswith("v/4 and 1 more: no frame of the truth shows the object of the expression")


def test_two_processes_find_the_same(source, tmp_path: Path) -> None:
    samples = samples_of(source.items())
    write(source, tmp_path, wrong="v")
    assert score_expressions(source, samples, tmp_path, 2) == score_expressions(source, samples, tmp_path)


def test_words_of_another_object_are_given_each_once(source) -> None:
    samples = samples_of(source.items())
    changed = shuffled(source, samples, seed=0)
    before, after = items_of(samples), items_of(changed)
    assert sorted(item.text for item in after) == sorted(item.text for item in before)
    assert [item.expression_id for item in after] == [item.expression_id for item in before]
    cat = [item.text for item in after if (item.video, item.object_id) == ("w", 2)]
    assert len(cat) == 4 and not any("cat" in text for text in cat)
    assert changed == shuffled(source, samples, seed=0) != shuffled(source, samples, seed=1)


def test_words_of_another_class_are_given_where_no_class_is_the_majority(tmp_path: Path) -> None:
    source = open_task_source("ref_davis17", write_ref_davis(tmp_path, {"v": TinyVideo({1: "dog", 2: "cat"}, [])}))
    assert isinstance(source, RefVideoSource)
    source.layout.videos["v"].classes.update({1: "dog", 2: "cat"})
    changed = items_of(shuffled(source, samples_of(source.items()), seed=0))
    assert all(("cat" if item.object_id == 1 else "dog") in item.text for item in changed)


def test_one_object_alone_has_no_other_words(tmp_path: Path) -> None:
    source = open_task_source("ref_davis17", write_ref_davis(tmp_path, {"v": TinyVideo({1: "dog"}, [])}))
    assert isinstance(source, RefVideoSource)
    with pytest.raises(ValueError, match=r"task\.probes=\[\]"):
        shuffled(source, samples_of(source.items()), seed=0)
