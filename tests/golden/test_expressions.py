"""J and F of expressions: numbers of the official DAVIS program, on its videos with each object made an expression."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.masks.png import write_labels, write_mask
from fewshot.evaluation.tasks.folder import score_folder
from tests.episodes.expression_trees import LAYOUTS, write_expressions
from tests.golden.values import assert_same, read_json
from tests.shared import require_shared

SEQUENCES = (
    ("osvos_as_gt_vs_rvos", "judo"),
    ("ids", "gap_late_missing"),
    ("ids", "vanish_merge"),
    ("ids", "void_not_ignored"),
)


@pytest.mark.golden
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("case", "sequence"), SEQUENCES)
def test_expressions_are_scored_as_objects_of_davis(tmp_path: Path, case: str, sequence: str, layout: str) -> None:
    """DAVIS leaves the first and the last frame out: they are not listed here, and all that are listed count."""
    folder = require_shared("golden", "vos")
    expected = read_json(folder / f"{case}.json")["sequences"][sequence]["objects"]
    with np.load(folder / f"{case}__{sequence}.npz") as arrays:
        truth, result = arrays["gt"][1:-1], arrays["pred"][1:-1]
    numbers = sorted(map(int, expected))
    benchmark, root = write_expressions(tmp_path / "data", layout, {sequence: (truth, numbers)})
    place = tmp_path / "results" / ("" if benchmark == "mevis" else "Annotations") / sequence
    for key, k in enumerate(numbers):
        for t, labels in enumerate(result):
            write = write_labels if layout == "shared" else write_mask  # any value above 0 is the object
            write(place / str(key) / f"{t:05d}.png", (labels == k).astype(np.uint8))
    _, measures = score_folder(benchmark, root, None, tmp_path / "results")
    assert measures.notes == ()
    for key, k in enumerate(numbers):
        j, f = measures.objects[f"{sequence}/{key}"]
        assert_same([j, f], [expected[str(k)][f"{name}_stats"][0] for name in "JF"], f"{sequence}, object {k}")
    means = [np.mean([expected[str(k)][f"{name}_stats"][0] for k in numbers]) for name in "JF"]
    assert_same([measures.values["J"], measures.values["F"], measures.values["J&F"]], [*means, np.mean(means)], "mean")
