"""Predictors of the tasks, built with the numbers of the configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.masks.submission import RESULT_LAYOUTS
from episodes.sources.sentences import SentenceSource
from episodes.sources.task_source import TaskSource
from episodes.sources.video_files import VideoFiles
from episodes.sources.vocabulary import VocabularySource
from fewshot.cli.runs import TaskTestConfig
from fewshot.evaluation.tasks.clipwise import CLIPWISE, stuff_of, vocabulary_question
from fewshot.evaluation.tasks.frames import FrameReader
from fewshot.evaluation.tasks.predictors import Predictor, RISPredictor, RVOSPredictor, VOSPredictor
from fewshot.evaluation.tasks.sentences import SentencePredictor
from fewshot.evaluation.tasks.windows import WindowPredictor
from fewshot.inference.chunks import evaluating
from fewshot.inference.trackers import RVOSTracker, VOSTracker
from fewshot.systems.base import System
from fewshot.systems.registry import spec_of, systems
from fewshot.systems.spec import SystemSpec
from fewshot.systems.video_tasks import VideoQuestion, VideoTask

GIVEN = {"vos": "support", "rvos": "expression", "ris": "expression", "rfs": "expression"}


def goes_its_own_way(system: System, spec: SystemSpec, task: str) -> bool:
    """Whether the system answers the task in a way of its own through whole videos."""
    return spec.video_task is not None and task in system.video_kinds


def check_system(system: System, spec: SystemSpec, task: str) -> None:
    """Refuse a system that the task is not for.

    Raises:
        ValueError: it does not take what the task gives, needs what the task has not, or cannot step through a video.
    """
    if goes_its_own_way(system, spec, task):
        return
    if task not in GIVEN:
        others = [name for name, other in systems().items() if other.video_task is not None]
        raise ValueError(
            f"{system.name} as it is built does not answer task {task}; systems for it: {', '.join(others)}"
        )
    given = GIVEN[task]
    if given not in system.accepts:
        raise ValueError(f"task {task} gives the system {_a(given)}, which {system.name} as it is built does not take")
    if lacking := sorted(system.needs - {given}):
        raise ValueError(f"{system.name} needs {_a(lacking[0])}, which task {task} does not give")
    if task == "vos" and spec.video is None:
        others = [name for name, other in systems().items() if other.video or other.video_task]
        raise ValueError(f"{system.name} keeps no memory of a video; task {task} is for {', '.join(others)}")


def check_faults(spec: SystemSpec, faults: Sequence[str]) -> None:
    """Refuse faults that the released tests of the system do not have.

    Raises:
        ValueError: naming them.
    """
    unknown = [name for name in faults if name not in spec.faults]
    if unknown:
        raise ValueError(f"task.faults={unknown}: the released tests of {spec.name} have no such faults; take []")


def own_way_of(config: TaskTestConfig, source: TaskSource, system: System) -> VideoTask | None:
    """The system's own way through the videos of a task; None: it has none."""
    task, spec = config.task, spec_of(config.system)
    if not goes_its_own_way(system, spec, source.task):
        return None
    assert spec.video_task is not None
    faults = {"faults": tuple(task.faults)} if task.faults else {}
    way: VideoTask = spec.video_task(system, source.task, task.clip_frames, **faults)
    return way


def check_vocabulary(config: TaskTestConfig, source: TaskSource, system: System) -> None:
    """Refuse classes that the system has no words or no weights for, before anything is predicted.

    Raises:
        ValueError: naming them, and what to do.
    """
    way = own_way_of(config, source, system)
    if way is not None and isinstance(source, VocabularySource):
        with evaluating(system):
            way.start(vocabulary_question(source, (1, 1)))
    if way is not None and source.task == "pvos" and config.task.name_stuff:
        with evaluating(system):
            vocabulary = stuff_of(source, source.names()[0])["vocabulary"]
            way.start(VideoQuestion((1, 1), vocabulary, data=source.name, stuff={0: 0}))


def make_predictor(
    config: TaskTestConfig, source: TaskSource, system: System, frames: FrameReader, folder: Path
) -> Predictor:
    """Predictor of a task, which writes masks under `folder`."""
    task, spec = config.task, spec_of(config.system)
    check_faults(spec, task.faults)
    if (own_way := own_way_of(config, source, system)) is not None:
        options = {"name_stuff": task.name_stuff} if source.task == "pvos" else {}
        return CLIPWISE[source.task](source, frames, own_way, folder, **options)
    if source.task == "ris":
        return RISPredictor(source, frames, system, folder, task.masks_by_nearest)
    if source.task == "rfs":
        assert isinstance(source, SentenceSource)
        return SentencePredictor(source, frames, system, folder, task.window, task.masks_by_nearest)
    if source.task == "rvos" and spec.video is None:
        switches = (task.keep_case, task.one_candidate)
        return WindowPredictor(frames, system, source.name, folder, task.frames_at_once, task.threshold, *switches)
    numbers: dict[str, Any] = {"threshold": task.threshold}
    assert spec.video is not None  # `check_system` has refused others
    numbers |= spec.video(task)
    if source.task == "vos":
        assert isinstance(source, VideoFiles)
        vos_tracker = VOSTracker(system, **numbers)
        return VOSPredictor(source, frames, vos_tracker, source.name, folder, task.resize_given_masks)
    exclusive = RESULT_LAYOUTS[source.name].palette  # one image for all expressions, so that they have to compete
    tracker = RVOSTracker(system, use_memory=task.use_memory, exclusive=exclusive, **numbers)
    return RVOSPredictor(frames, tracker, source.name, folder)


def _a(reference: str) -> str:
    return "masks" if reference == "support" else "an expression"
