"""A folder of masks of expressions, of any program, scored against the truth on disk."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import tables
from benchmarks.protocols.expressions import EXPRESSION_PROTOCOLS
from episodes.plain_files import read_text
from episodes.sources.ref_video import RefVideoSource
from episodes.sources.tasks import open_task_source
from fewshot.evaluation.tasks.expressions import check_truth, score_expressions
from fewshot.evaluation.tasks.measures import Measures, expression_measures
from fewshot.evaluation.tasks.samples import samples_of
from fewshot.run.logging.files import replace_file, strict_json

KEYS = {"card", "measures", "objects", "notes"}


def score_folder(
    benchmark: str, root: Path, split: str | None, results: Path, processes: int = 1
) -> tuple[str, Measures]:
    """The card and the numbers of a folder of masks.

    Raises:
        ValueError: no such folder, no truth, or a mask that is missing, broken or of another size.
        FileNotFoundError: there are no lists.
    """
    if not results.is_dir():
        raise ValueError(f"results={results} is not a folder")
    source = open_task_source(benchmark, root, split)
    assert isinstance(source, RefVideoSource)  # those of `EXPRESSION_PROTOCOLS` are
    check_truth(source)
    samples = samples_of(source.items())
    measures = expression_measures(score_expressions(source, samples, results, processes), {})
    number = sum(len(sample.items) for sample in samples)
    lines = {
        "benchmark": f"{source.name}, {source.split}",
        "tested": f"{len(samples)} videos, {number} expressions",
        **EXPRESSION_PROTOCOLS[benchmark].lines(),
    }
    return tables.wrapped(tables.card(lines)), measures


def write_scores(path: Path, card: str, measures: Measures) -> None:
    """Write card, numbers and those of all expressions as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "card": card.splitlines(),
        "measures": measures.values,
        "beside": measures.beside,
        "objects": measures.objects,
        "notes": measures.notes,
    }
    replace_file(path, strict_json(content))


def refuse_foreign(path: Path) -> None:
    """Raise ValueError for a file that is no such JSON."""
    if not path.exists():
        return
    try:
        known = KEYS <= set(json.loads(read_text(path)))
    except (ValueError, TypeError):
        known = False
    if not known:
        raise ValueError(f"{path} holds no scores that this program wrote: give another out=<file>.json")
