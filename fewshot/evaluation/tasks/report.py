"""Results of a test on a task: card, numbers, files and pictures."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.masks.submission import result_folder
from benchmarks.metrics.sentences import CATEGORY
from benchmarks.protocols.expressions import EXPRESSION_PROTOCOLS
from benchmarks.protocols.protocol import NamedRules
from benchmarks.protocols.scored import ScoreProtocol, rules_of_test
from benchmarks.protocols.tasks import PROTOCOLS_OF_KIND, reading_of
from benchmarks.scores.twins import A_TWIN
from episodes.sampling.probes import PROBES
from episodes.sources.ref_video import RefVideoSource
from episodes.sources.task_source import TaskSource
from episodes.sources.video_files import VideoFiles
from episodes.task_items import RVOSItem, VOSItem
from fewshot.cli.recipes import settings_of_tests
from fewshot.cli.runs import TaskTestConfig
from fewshot.evaluation.leak import Leak
from fewshot.evaluation.tasks.everything import check_truth, everything_measures, longest_of
from fewshot.evaluation.tasks.expressions import score_expressions
from fewshot.evaluation.tasks.measures import (
    Measures,
    ScoredFolder,
    davis_measures,
    expression_measures,
    ris_measures,
    sentence_measures,
)
from fewshot.evaluation.tasks.pictures import draw_sample
from fewshot.evaluation.tasks.predictors import Predictor
from fewshot.evaluation.tasks.samples import Sample
from fewshot.run.logging.files import replace_file, sheet, strict_json
from fewshot.systems.registry import spec_of

logger = logging.getLogger(__name__)
RESULTS, SHEET, PICTURES, PREDICTIONS = "results.json", "results.csv", "pictures", "predictions.json"
SCORES = {
    "none": "not here: a server or a toolkit of the benchmark does",
    "ris": "oIoU, mIoU and P@K at the original size; a missing prediction is an empty mask (UniRef++'s evaluation)",
    "sentences": "mAP over IoU .50:.05:.95 of all candidates; oIoU, mIoU and P@K of the best one (MTTR's evaluation)",
    "expressions": "J and F of DAVIS of each expression on its own object, mean over frames, then over expressions",
    "davis": "J and F of DAVIS, semi-supervised: ids as given, first and last frame left out",
    "protocol": "here, from the written results; each reading of the protocol is a row",
    "davis_unsupervised": "J and F of DAVIS in two readings, all frames; the mean over the annotators",
}


def tell_protocol(told: str) -> None:
    """Log how a system will be tested: its card."""
    logger.info("protocol of the test\n%s", tables.wrapped(told))


def card(config: TaskTestConfig, source: TaskSource, samples: Sequence[Sample], own_way: bool, leak: Leak) -> str:
    """The protocol in lines, for the log and the results.

    Args:
        own_way: whether the system goes through whole videos in a way of its own.
        leak: what the weights may know of the test.
    """
    task = config.task
    videos = len({sample.video for sample in samples})
    tested = f"the first {videos} of {len(source.names())}" if config.limit else f"all {videos}"
    lines = {
        "benchmark": f"{source.name}, {source.split}",
        "tested": f"{tested} {'objects of images' if source.task == 'ris' else 'videos'}",
        "weights": "untrained" if config.weights is None else config.weights,
        "input": str(config.input_rule()),
        "scored": SCORES[task.score],
    }
    if own := settings_of_tests(config):
        lines["own settings"] = f"{', '.join(own)} (the tests of {config.system.name})"
    if (truth := truth_of(config, source, samples)) is not None:
        lines["truth"] = "/".join(truth.parts[-2:])
    if (kept := identity_of(config, source, samples)) is not None:
        lines["J&F-Mean"] = "objects assigned freely, as papers report it (the unsupervised protocol)"
        lines["J&F-identity"] = f"each expression against its own object, ids kept; truth {'/'.join(kept.parts[-2:])}"
    if source.task == "rfs":
        lines["window"] = f"{task.window} frames around the one that is asked for, the ends of a video repeated"
    if source.task in ("rfs", "ris"):
        by = "cut at network size, then the nearest pixel" if task.masks_by_nearest else "logits resized, then cut at 0"
        lines["masks"] = f"{by}; at the original size"
    if task.score == "protocol":
        lines |= protocol_lines(config, source, samples)
    elif isinstance(rules := rules_of(config, source), ScoreProtocol):
        lines["protocol"] = rules.heading
    if own_way:
        lines["clips"] = f"of {task.clip_frames} frames, as far as the system looks at several at once"
    elif source.task in ("vos", "rvos"):
        lines["threshold"] = "none" if task.threshold is None else f"score above {task.threshold:g}"
        if spec_of(config.system).video is None:
            whose = "of the whole video" if task.one_candidate else "of each"
            lines["memory"] = f"none; clips of {task.frames_at_once} frames, the best candidate {whose}"
            lines["words"] = "capitals as they stand" if task.keep_case else "in lower case"
        else:
            lines["memory"] = "first and last frame" if source.task == "vos" or task.use_memory else "none"
    if source.task == "pvos":
        lines["stuff"] = "by its given mask" + (
            " and by the name of its class, where it is seen" if task.name_stuff else ""
        )
    if task.score == "expressions":
        lines["twin"] = A_TWIN.partition(": ")[2]
    if task.score == "expressions" and (rules := EXPRESSION_PROTOCOLS.get(source.name)) is not None:
        lines |= rules.lines()
    lines |= {probe: PROBES[probe] for probe in task.probes}
    if task.resize_given_masks and source.task == "vos":
        lines["given masks"] = "enter the result at network size, as in UniRef++'s released code"
    if task.compare_logits:
        lines["aggregation"] = "logits stand for probabilities, as in UniRef++'s released code"
    return tables.card({**lines, "leak": leak.line()})


def rules_of(config: TaskTestConfig, source: TaskSource) -> NamedRules | None:
    """The rules of the headline numbers; None where nothing is counted here."""
    return rules_of_test(config.task.score, source.name, source.task, config.task.protocol)


def protocol_lines(config: TaskTestConfig, source: TaskSource, samples: Sequence[Sample]) -> dict[str, str]:
    """Rules of the headline numbers, those that are not there and why, and the names of the other readings."""
    chosen = reading_of(source.task, config.task.protocol)
    others = [name for name in PROTOCOLS_OF_KIND[source.task] if name != chosen.name]
    lines = {"protocol": chosen.heading, **chosen.lines()}
    missing = {name: f"not there, {why}" for name, why in chosen.too_long(longest_of(samples)).items()}
    return {**lines, **missing, **({"beside it": ", ".join(others)} if others else {})}


def truth_of(config: TaskTestConfig, source: TaskSource, samples: Sequence[Sample]) -> Path | None:
    """Folder of the masks that those of the test are scored against; None where no masks are.

    Raises:
        FileNotFoundError: they are not there.
    """
    if config.task.score == "protocol":
        check_truth(source, samples)
    if not config.task.score.startswith("davis") or not isinstance(source, VideoFiles):
        return None
    return source.truth_folder(samples[0].video)


def identity_of(config: TaskTestConfig, source: TaskSource, samples: Sequence[Sample]) -> Path | None:
    """Folder of the masks whose ids the expressions name, where J and F are computed with these ids kept too."""
    if config.task.score != "davis_unsupervised" or not isinstance(source, VideoFiles):
        return None
    return source.mask_folder(samples[0].video)


def measure(
    config: TaskTestConfig,
    source: TaskSource,
    samples: Sequence[Sample],
    rows: Sequence[Mapping[str, Any]],
    masks: Path,
    probes: Mapping[str, Path] | None = None,
) -> Measures:
    """The numbers of the test. `masks`: folder of those that were written; `probes`: the same of each probe.

    Raises:
        ValueError: a mask that was written, or one of the truth, is missing or broken.
    """
    score, truth = config.task.score, truth_of(config, source, samples)
    if score == "protocol":
        return everything_measures(source, samples, masks, config.task.protocol, config.processes)
    if score == "ris":
        return ris_measures(rows)
    if score == "sentences":
        return sentence_measures(rows)
    if score == "expressions":
        assert isinstance(source, RefVideoSource)  # `check_task`
        folders = {"": masks, **(probes or {})}
        found = {name: score_expressions(source, samples, own, config.processes) for name, own in folders.items()}
        return expression_measures(found.pop(""), found)
    if truth is None or not isinstance(source, VideoFiles):
        return Measures()
    written = {sample.annotator: _written(source, sample, masks) for sample in samples}
    scored = {
        "all" if who is None else f"anno_{who}": ScoredFolder(
            folder, tuple(s.video for s in samples if s.annotator == who)
        )
        for who, folder in sorted(written.items(), key=lambda pair: str(pair[0]))
    }
    return davis_measures(
        scored,
        truth,
        unsupervised=score == "davis_unsupervised",
        binary=source.merge_objects,
        processes=config.processes,
        identity=identity_of(config, source, samples),
    )


def _written(source: TaskSource, sample: Sample, masks: Path) -> Path:
    """Folder with the video folders of a sample's results."""
    item = sample.items[0]
    assert isinstance(item, (VOSItem, RVOSItem))  # others have no folder of a video
    return result_folder(source.name, masks, item).parent


def write_outcome(
    config: TaskTestConfig,
    source: TaskSource,
    samples: Sequence[Sample],
    entries: Mapping[str, Mapping[str, Any]],
    measures: Measures,
    folder: Path,
    told: str,
    record: Mapping[str, Any],
) -> None:
    """Write `results.json` (the card that was `told`, the numbers, and as `run` the `record` of what was tested) and
    `results.csv` (one row per object, expression, track or video).

    Of sentences about frames also `predictions.json`, all candidates as a COCO result file.
    """
    rows = [row for sample in samples for row in entries[sample.name]["rows"]]
    rules = rules_of(config, source)
    content = {
        **({} if rules is None else rules.record),
        "benchmark": source.name,
        "split": source.split,
        "task": source.task,
        "system": config.system.name,
        "weights": config.weights,
        "card": told.splitlines(),
        "run": dict(record),
        "measures": measures.values,
        "parts": measures.parts,
        "beside": measures.beside,
        "objects": measures.objects,
        **({"areas": [(row["intersection"], row["union"]) for row in rows]} if source.task == "ris" else {}),
        "notes": measures.notes,
        "samples": len(samples),
        "rows": len(rows),
        "seconds": round(sum(entries[sample.name]["seconds"] for sample in samples), 3),
    }
    replace_file(folder / RESULTS, strict_json(content))
    plain = [{name: value for name, value in row.items() if not isinstance(value, dict)} for row in rows]
    replace_file(folder / SHEET, sheet(list(plain[0]) if plain else ["video"], plain))
    if source.task == "rfs":
        replace_file(folder / PREDICTIONS, json.dumps([row for found in rows for row in coco_results(found)]) + "\n")
    logger.info("results: %s and %s", folder / RESULTS, folder / SHEET)


def coco_results(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The candidates of a sentence as the rows of a COCO result file, which the official evaluation reads."""
    runs, own = row["runs"], {"image_id": row["sample_id"], "category_id": CATEGORY}
    return [
        {**own, "segmentation": {"size": runs["size"], "counts": counts}, "score": score}
        for score, counts in zip(runs["scores"], runs["candidates"], strict=True)
    ]


def draw(
    config: TaskTestConfig, source: TaskSource, samples: Sequence[Sample], predictor: Predictor, folder: Path
) -> None:
    """A few pictures, of samples spread over the test."""
    number = min(config.pictures, len(samples))
    for k in range(number):
        sample = samples[k * len(samples) // number]
        if predictor.files(sample):
            draw_sample(sample, source, predictor, folder / PICTURES)
