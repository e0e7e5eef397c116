"""Sanity probes: the same test with one thing taken away, so that a model that ignores it is visible at once.

Each probe is a pure function: two change the list of episodes (which supports, which words), one changes the loaded
supports. Everything else of an episode, the frames and masks of its queries above all, stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace

import torch

from episodes.clip import Clip
from episodes.episode import ClipSpec, EpisodeSpec
from episodes.seeding import rng

PROBES: dict[str, str] = {
    "no_support": "support frames and masks are zeros and the support words are 'object'",
    "wrong_support": "each class is given the supports of another class of the same test list",
    "everything": "no model: every pixel is called the object, the floor of every table",
    "shuffled_text": "each query is given an expression that was written for another class (or else another object)",
}
NEUTRAL_WORD = "object"
EVERYTHING = "everything"


def check_probe(name: str) -> None:
    """Raise ValueError if `name` is neither a probe nor '' (no probe)."""
    if name and name not in PROBES:
        raise ValueError(f"unknown probe {name!r}: choose from {', '.join(PROBES)}")


def probe_specs(specs: Sequence[EpisodeSpec], probe: str) -> list[EpisodeSpec]:
    """The episodes as the probe changes them; `no_support`, `everything` and '' leave the list alone.

    Raises:
        ValueError: an unknown probe, or a list in which the probe has nothing to exchange.
    """
    check_probe(probe)
    change: dict[str, Callable[[Sequence[EpisodeSpec]], list[EpisodeSpec]]] = {
        "wrong_support": wrong_support,
        "shuffled_text": shuffled_text,
    }
    return change.get(probe, list)(specs)


def probe_supports(clips: Sequence[Clip], probe: str) -> tuple[Clip, ...]:
    """The loaded supports as the probe changes them; all but `no_support` leave them alone."""
    check_probe(probe)
    return tuple(no_support(clip) for clip in clips) if probe == "no_support" else tuple(clips)


def no_support(clip: Clip) -> Clip:
    """A support that says nothing: zero frames (after normalisation: the mean colour), empty masks, a neutral word."""
    if clip.objects is None or clip.masks is None:
        raise ValueError(f"support {clip.video!r} has no masks")
    known = clip.objects.masks, clip.objects.boxes, clip.objects.valid
    masks, boxes, valid = (None if x is None else torch.zeros_like(x) for x in known)
    return replace(
        clip,
        frames=torch.zeros_like(clip.frames),
        objects=replace(clip.objects, masks=masks, boxes=boxes, valid=valid),
        ignore=None,
        expression=None if clip.expression is None else NEUTRAL_WORD,
    )


def wrong_support(specs: Sequence[EpisodeSpec]) -> list[EpisodeSpec]:
    """Each episode with supports of another class: those of the first episode of that class in the list.

    The classes are put in a random circle that depends on the seed only; each class takes its neighbour's supports.
    """
    supports: dict[int, tuple[ClipSpec, ...]] = {}
    for spec in specs:
        supports.setdefault(spec.class_id, spec.supports)
    classes = sorted(supports)
    if len(classes) < 2:
        raise ValueError(f"wrong_support needs episodes of at least 2 classes, the list has {len(classes)}")
    circle = rng(specs[0].seed, "wrong_support").permutation(classes).tolist()
    neighbour = dict(zip(circle, circle[1:] + circle[:1], strict=True))
    return [replace(spec, supports=supports[neighbour[spec.class_id]]) for spec in specs]


def shuffled_text(specs: Sequence[EpisodeSpec]) -> list[EpisodeSpec]:
    """Each query with an expression written for another class; for another object where one class is the majority.

    A permutation: every expression is used exactly once. Only the words change, the ids stay those of the target.
    """
    queries = [(spec.class_id, query) for spec in specs for query in spec.queries]
    if all(query.expression is None for _, query in queries):
        raise ValueError("shuffled_text needs expressions: these episodes have none")
    by_class = [class_id for class_id, _ in queries]
    by_object = [(query.video, query.object_id) for _, query in queries]
    seed = specs[0].seed if specs else 0
    source = derangement(by_class, seed) or derangement(by_object, seed)
    if source is None:
        raise ValueError("shuffled_text needs expressions of other classes or objects: one has more than half of them")
    words = iter([queries[k][1].expression for k in source])
    return [
        replace(spec, queries=tuple(replace(query, expression=next(words)) for query in spec.queries)) for spec in specs
    ]


def derangement(kinds: Sequence[Hashable], seed: int) -> list[int] | None:
    """A permutation `p` with `kinds[p[i]] != kinds[i]` for every `i`, or None if there is none.

    Sorted by kind (in random order inside a kind) and turned by the size of the largest kind, so that no element
    stays in its own kind; possible exactly if no kind has more than half of the elements.
    """
    members: dict[Hashable, list[int]] = {}
    for k, kind in enumerate(kinds):
        members.setdefault(kind, []).append(k)
    shift = max((len(group) for group in members.values()), default=0)
    if not kinds or 2 * shift > len(kinds):
        return None
    draw = rng(seed, "derangement")
    order = [k for group in members.values() for k in draw.permutation(group).tolist()]
    source = [0] * len(kinds)
    for here, there in zip(order, order[shift:] + order[:shift], strict=True):
        source[here] = there
    return source
