"""`SystemSpec`: everything that the package needs to know of a system, said in the system's own folder.

Nothing heavy is imported to say it: functions are named by their place (`Later`) and imported when they are called, so
that `--help` and refusals do not wait for torch.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from episodes.transforms.input_rule import InputRule
from fewshot.systems.config import SystemConfig

if TYPE_CHECKING:
    from fewshot.systems.base import System
    from fewshot.systems.video_tasks import VideoTask
    from fewshot.weights.key_table import Plan


@dataclass(frozen=True)
class Later:
    """A function by its place `package.module:name`, imported at its first call."""

    place: str

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it."""
        return pkgutil.resolve_name(self.place)(*args, **kwargs)


@dataclass(frozen=True)
class SystemSpec:
    """A system: its settings, how it is built, what reads its official files, and how it is used.

    Attributes:
        name: key in the registry, `system.name` of a configuration.
        config: dataclass of its settings, with `name` as the default of its first key.
        build: `build(settings)` gives the system with random weights but for those of the files that settings name.
        plan: `plan(tensors, system)` gives the key table for a file with these official tensors; None: there are no
            official files.
        fit: `fit(tensors, variant)` gives the settings that the tensors of an official checkpoint imply (`variant`
            None: as the tensors say) and an empty system of these sizes, without a tokenizer; None: not converted.
        needs: what a reference must hold, as `System.needs`, to refuse a benchmark before anything is loaded.
        references: whether it takes references at all; if not, it answers tasks on whole videos alone, and is not
            trained here.
        needs_training: whether a test without weights is refused.
        input_rule: how users' pictures become its input where its weights say nothing else; or a function of the
            system that says so.
        video: `video(task_settings)` gives further arguments of the trackers (`fewshot.inference.trackers`); None: its
            states cannot be joined to a memory of a video.
        video_task: `video_task(system, kind, clip_frames)` gives its way through videos for a task of
            `System.video_kinds`, in clips of so many frames where it looks at several at once; None: it has none.
        faults: of its released tests, which `task.faults` brings back: `video_task` takes their names as `faults`.
        official: values of keys of the run (`system.x`, `train.y`) that `recipe=official` sets: the switches that bring
            back the released code of the system, and its numbers.
        stages: stage -> values of keys of the run that `recipe=official` sets in it, beside those of `official`: its
            released schedule. `parts.*.x` is the key x of every part.
        tests: data set -> values of keys (`task.x`) with which it is tested on it as by its released code; they are
            used unless they are typed.
        official_tests: data set -> those of `tests` that `recipe=official` changes: faults of its released test.
        words_alone: values of keys (`system.x`) with which it takes expressions without masked supports, where its
            settings are for both: such stages and tests set them unless they are typed.
        learns_objects: whether it learns from clips with all of their objects (parts of a stage of the kind objects).
        small: settings of an instance that a CPU trains in seconds, without files: for the contract test.
    """

    name: str
    config: type[SystemConfig]
    build: Callable[[Any], System]
    plan: Callable[[Mapping[str, Any], Any], Plan] | None = None
    fit: Callable[[Mapping[str, Any], str | None], tuple[Any, System]] | None = None
    needs: frozenset[str] = frozenset({"support"})
    references: bool = True
    needs_training: bool = True
    input_rule: InputRule | Callable[[Any], InputRule] = InputRule()
    video: Callable[[Any], dict[str, Any]] | None = None
    video_task: Callable[..., VideoTask] | None = None
    faults: tuple[str, ...] = ()
    official: Mapping[str, Any] = field(default_factory=dict)
    stages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tests: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    official_tests: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    words_alone: Mapping[str, Any] = field(default_factory=dict)
    learns_objects: bool = False
    small: Mapping[str, Any] = field(default_factory=dict)

    def rule_of(self, system: System) -> InputRule:
        """Rule by which users' pictures become input of this instance."""
        return self.input_rule if isinstance(self.input_rule, InputRule) else self.input_rule(system)
