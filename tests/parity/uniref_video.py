"""Runs the video cases of UniRef++: frame by frame, every array of every call, and the label images at the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from episodes.batch import ClipBatch
from fewshot.inference.trackers import FrameMasks, RVOSState, RVOSTracker, Tracker, VOSState, VOSTracker
from fewshot.systems.base import ReferenceState
from fewshot.systems.uniref.model import UniRef
from tests.parity.uniref_model import batch_of, expression, model_of, recorded
from tests.parity.uniref_reference import image_of, label_problems, mismatches, rectangle

THRESHOLDS = {"davis": 0.3, "lvos": 0.5, "mose": 0.4, "y": 0.4}  # by the start of a data set's name
Arrays = dict[str, list[Tensor]]


@dataclass
class Event:
    """One call of a tracker to the model: what it was for, and all that the model computed."""

    what: str  # "find" or "remember"
    frame: int
    key: Any  # object, or the number of an expression; None: not known
    arrays: Arrays


@dataclass
class Journal:
    """The calls of a tracker in their order.

    The official code looks at a frame for each object and reads each text by itself. What is computed once here (`look`
    of the present frame, `words` of the video) stands with each of them.
    """

    calls: Arrays
    frame: int = 0
    events: list[Event] = field(default_factory=list)
    look: Arrays = field(default_factory=dict)
    words: Arrays = field(default_factory=dict)

    def note(self, what: str, key: Any) -> None:
        """Everything computed since the last event belongs to this one."""
        self.events.append(Event(what, self.frame, key, {**self.look, **self._taken()}))

    def looked(self) -> None:
        """Everything computed since the last event belongs to the look at this frame, or is the words."""
        arrays = self._taken()
        self.look = {name: values for name, values in arrays.items() if not name.startswith("text.")}
        for name in arrays.keys() - self.look.keys():
            self.words[name] = [row[None] for value in arrays[name] for row in value]

    def of(self, what: str, frame: int) -> list[Event]:
        return [event for event in self.events if (event.what, event.frame) == (what, frame)]

    def _taken(self) -> Arrays:
        arrays = {name: list(values) for name, values in self.calls.items()}
        self.calls.clear()
        return arrays


def watch(tracker: Tracker, journal: Journal) -> None:
    """Write every call of the tracker into the journal, which is made for one object after the other."""
    seen, find, remembered = tracker.seen, tracker.find, tracker.remembered

    def noted_seen(frame: ClipBatch) -> ClipBatch:
        result = seen(frame)
        journal.looked()
        return result

    def noted_find(frame: ClipBatch, size: tuple[int, int], state: ReferenceState) -> tuple[Tensor, list[float]]:
        found = []
        for k in range(state.count):
            supports, words = (None if x is None else x[k : k + 1] for x in (state.supports, state.words))
            found.append(find(frame, size, ReferenceState(1, supports, words)))
            journal.note("find", len(journal.of("find", journal.frame)))
        return torch.cat([masks for masks, _ in found]), [score for _, scores in found for score in scores]

    def noted_remembered(frame: ClipBatch, masks: Sequence[Tensor]) -> list[Any]:
        references = []
        for mask in masks:
            references += remembered(frame, [mask])
            journal.note("remember", None)
        return references

    tracker.seen, tracker.find, tracker.remembered = noted_seen, noted_find, noted_remembered  # type: ignore[method-assign]


@torch.no_grad()
def run(case: dict[str, Any], folder: Path) -> list[str]:
    """What differs in a case of mask-guided or referring video segmentation."""
    model = model_of(case, folder)
    frames = [batch_of([image_of(recipe)]) for recipe in case["frames"]]
    return (vos if case["task"] == "vos" else rvos)(case, model, frames)


# ------------------------------------------------------------------------------------------------------------------ VOS


def vos(case: dict[str, Any], model: UniRef, frames: Sequence[ClipBatch]) -> list[str]:
    """Objects given by masks. Official frames before the first object have no result."""
    (threshold,) = (v for start, v in THRESHOLDS.items() if case["dataset_name"].startswith(start))
    tracker = VOSTracker(model, threshold=threshold)
    labels, margins, orders = [], [], []
    with recorded(model, case.get("selected_queries", ()), stride=1) as calls:
        journal = Journal(calls)
        watch(tracker, journal)
        state = tracker.start((case["height"], case["width"]))
        for journal.frame, (frame, objects) in enumerate(zip(frames, case["objects"], strict=True)):
            size = tuple(frame.sizes[0].tolist())
            given = {int(o["ori_id"]): rectangle(o["mask_rect_xyxy"], size) for o in objects}
            state, found = tracker.step(state, frame, given)
            orders.append(_name_finds(journal, tracker, state, frame, found, given))
            if found.ids:
                labels.append(found.labels())
                margins.append(margin(found.probabilities))
    final = label_problems("final.png", torch.stack(labels), case["expected"]["final.png"], torch.stack(margins))
    expected = _expected(case)
    # neither the order of the objects within a frame nor a look at frames before the first object shows in the results
    attempts = [
        mismatches(expected, _vos_calls(journal, orders, by_name, idle))
        for by_name in (True, False)
        for idle in (False, True)
    ]
    return min(attempts, key=len) + final


def _name_finds(
    journal: Journal,
    tracker: VOSTracker,
    state: VOSState,
    frame: ClipBatch,
    found: FrameMasks,
    given: Mapping[int, Tensor],
) -> tuple[int, ...]:
    """Say which object each call was for. The official code also looks for objects whose mask is given, in vain."""
    looked_for = [k for k in found.ids if k not in given]
    for event, k in zip(journal.of("find", journal.frame), looked_for, strict=True):
        event.key = k
    for k in given:
        tracker.find(frame, state.size, ReferenceState(1, state.memories[k].reference()))
        journal.events[-1].key = k
    return tuple(state.memories)  # in the order in which they came


def _vos_calls(journal: Journal, orders: Sequence[Sequence[int]], by_name: bool, idle: bool) -> Arrays:
    """Arrays in the official order: of each frame a look for the reference, then one for each object."""
    calls: Arrays = {}
    for index, order in enumerate(orders):
        finds = {event.key: event for event in journal.of("find", index)}
        remembers = journal.of("remember", index)
        if not order and not idle:
            continue
        first = (remembers or list(finds.values()))[:1]
        _add(calls, first, ("backbone.",))
        _add(calls, remembers, ("value_encoder.",))
        _add(calls, [finds[k] for k in (sorted(order, key=str) if by_name else order)])
    return calls


# ----------------------------------------------------------------------------------------------------------------- RVOS


def _add_by_expression(calls: Arrays, journal: Journal, state: RVOSState) -> None:
    """Arrays in the official order: every frame for one expression, then every frame for the next.

    All expressions are read before the first frame.
    """
    _add(calls, [Event("read", 0, None, journal.words)])
    for number in range(len(state.expressions)):
        _add(calls, [event for event in journal.events if event.key in (number, None)])


def rvos(case: dict[str, Any], model: UniRef, frames: Sequence[ClipBatch]) -> list[str]:
    """Objects given by expressions: Ref-DAVIS17 together, by words alone; else one by one, with memory."""
    together = case["dataset_name"].startswith("refdavis")
    texts = [expression(ids) for ids in case["token_ids"]]
    options: dict[str, Any] = {"threshold": None if together else 0.3, "use_memory": not together}
    labels, margins, arrays = [], [], {}
    with recorded(model, case.get("selected_queries", ())) as calls:
        for group in [texts] if together else [[text] for text in texts]:
            tracker, journal = RVOSTracker(model, exclusive=together, **options), Journal(calls)
            watch(tracker, journal)
            state = tracker.start((case["height"], case["width"]), group)
            for journal.frame, frame in enumerate(frames):
                state, found = tracker.step(state, frame)
                labels.append(found.labels() if together else 255 * found.masks[0].to(torch.uint8))
                margins.append(margin(found.probabilities) if together else found.probabilities[0] - 0.5)
            _add_by_expression(arrays, journal, state)
    final = label_problems("final.png", torch.stack(labels), case["expected"]["final.png"], torch.stack(margins))
    return mismatches(_expected(case), arrays) + final


# --------------------------------------------------------------------------------------------------------------- shared


def _add(calls: Arrays, events: Iterable[Event], only: tuple[str, ...] = ("",)) -> None:
    for event in events:
        for name, values in event.arrays.items():
            if name.startswith(only):
                calls.setdefault(name, []).extend(values)
                if name.endswith("[best]"):
                    calls.setdefault(name.replace("[best]", "_best"), []).extend(values)


def _expected(case: dict[str, Any]) -> dict[str, Any]:
    """The arrays but for the label images. Of a best mask of which a part is kept, the name says so: `_best[part]`."""
    arrays = {name: value for name, value in case["expected"].items() if name != "final.png"}
    return {name.replace("[best][", "_best[:,"): value for name, value in arrays.items()}


def margin(probabilities: Tensor) -> Tensor:
    """How far the owner of each pixel is ahead of the second, background included: `(n, H, W) -> (H, W)`."""
    values = torch.cat([(1 - probabilities).prod(0, keepdim=True), probabilities])
    best = values.topk(2, 0).values
    return best[0] - best[1]
