"""Sanity probes: the same test with one thing taken away, so that a model that ignores it is visible at once.

Each probe is a pure function: three change the list of episodes (which supports, which words), two the loaded supports.
Everything else of an episode, the frames and masks of its queries above all, stays as it is.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

import torch

from episodes.clip import Clip
from episodes.episode import ClipSpec, EpisodeSpec
from episodes.seeding import rng
from episodes.sources.base import Source
from episodes.sources.images import ImageSource

PROBES: dict[str, str] = {
    "no_support": "support frames and masks are zeros and the support words are 'object'",
    "name_only": "words alone: the expression of the query, or the name of its class where it has none, without "
    "supports (empty ones where the system cannot do without)",
    "wrong_support": "supports of another class of the same test list, which do not show the class that is asked for",
    "everything": "no model: every pixel is called the object, the floor of every table",
    "shuffled_text": "each query is given an expression that was written for another class (or else another object)",
}
NEUTRAL_WORD = "object"
EVERYTHING = "everything"
NAME_ONLY = "name_only"
Found = TypeVar("Found")


def check_probe(name: str) -> None:
    """Raise ValueError if `name` is neither a probe nor '' (no probe)."""
    if name and name not in PROBES:
        raise ValueError(f"unknown probe {name!r}: choose from {', '.join(PROBES)}")


def probe_specs(specs: Sequence[EpisodeSpec], probe: str, source: Source) -> list[EpisodeSpec]:
    """The episodes as the probe changes them; `no_support`, `everything` and '' leave the list alone.

    `source` is the data set, which knows what else a video or image shows.

    Raises:
        ValueError: an unknown probe, or a list in which the probe has nothing to exchange.
    """
    check_probe(probe)
    if probe == "wrong_support":
        return wrong_support(specs, source)
    if probe == NAME_ONLY:
        return [named(spec) for spec in specs]
    return shuffled_text(specs) if probe == "shuffled_text" else list(specs)


def probe_supports(clips: Sequence[Clip], probe: str) -> tuple[Clip, ...]:
    """The loaded supports as the probe changes them; all but `no_support` and `name_only` leave them alone."""
    check_probe(probe)
    if probe == NAME_ONLY:
        return tuple(no_support(clip, clip.expression) for clip in clips)
    return tuple(no_support(clip) for clip in clips) if probe == "no_support" else tuple(clips)


def named(spec: EpisodeSpec) -> EpisodeSpec:
    """The episode with the name of its class as the words of its supports, and of queries that have no words."""
    name = spec.class_name.replace("_", " ")
    supports = tuple(clip if clip.expression is None else replace(clip, expression=name) for clip in spec.supports)
    queries = tuple(replace(query, expression=query.expression or name) for query in spec.queries)
    return replace(spec, supports=supports, queries=queries)


def no_support(clip: Clip, words: str | None = NEUTRAL_WORD) -> Clip:
    """A support that shows nothing: zero frames (after normalisation: the mean colour), empty masks, and `words` in the
    place of its own."""
    if clip.objects is None or clip.masks is None:
        raise ValueError(f"support {clip.video!r} has no masks")
    return replace(
        clip,
        frames=torch.zeros_like(clip.frames),
        objects=clip.objects.hidden(),
        ignore=None,
        expression=None if clip.expression is None else words,
    )


def wrong_support(specs: Sequence[EpisodeSpec], source: Source) -> list[EpisodeSpec]:
    """Each episode with supports of another class of the list, which nowhere show the class that is asked for.

    Videos: each class is given the supports of the first episode of another class, so that they serve all its queries,
    as in the test itself; images: each episode has supports of its own. Both depend on the seed only.

    Raises:
        ValueError: one class only, or one for which there are no such supports.
    """
    classes = sorted({spec.class_id for spec in specs})
    if len(classes) < 2:
        raise ValueError(f"wrong_support needs episodes of at least 2 classes, the list has {len(classes)}")
    return _wrong_images(specs, source) if isinstance(source, ImageSource) else _wrong_videos(specs, source, classes)


def _wrong_videos(specs: Sequence[EpisodeSpec], source: Source, classes: Sequence[int]) -> list[EpisodeSpec]:
    """The classes stand in a random circle; each takes the supports of the next one whose supports do not show it."""
    supports: dict[int, tuple[ClipSpec, ...]] = {}
    for spec in specs:
        supports.setdefault(spec.class_id, spec.supports)
    shown = _shown(source, (clip for clips in supports.values() for clip in clips))
    circle = rng(specs[0].seed, "wrong_support").permutation(classes).tolist()
    wrong: dict[int, tuple[ClipSpec, ...]] = {}
    for place, class_id in enumerate(circle):
        others = (supports[c] for c in circle[place + 1 :] + circle[:place])
        found = next((clips for clips in others if not any(class_id in shown[clip.video] for clip in clips)), None)
        wrong[class_id] = _there(found, source, class_id)
    return [replace(spec, supports=wrong[spec.class_id]) for spec in specs]


def _wrong_images(specs: Sequence[EpisodeSpec], source: Source) -> list[EpisodeSpec]:
    """A class and its images are drawn for each episode from all images of the list that do not show its class."""
    members: dict[int, dict[str, ClipSpec]] = {}
    for spec in specs:
        clips = (*spec.supports, *spec.queries)
        members.setdefault(spec.class_id, {}).update({clip.video: clip for clip in clips})
    shown = _shown(source, (clip for of_class in members.values() for clip in of_class.values()))
    wrong: dict[int, list[list[ClipSpec]]] = {}
    for class_id in members:
        without = ([m[x] for x in sorted(m) if class_id not in shown[x]] for m in members.values())
        wrong[class_id] = _there([clips for clips in without if clips], source, class_id)
    return [_with_wrong_images(spec, wrong[spec.class_id], source.draws_as) for spec in specs]


def _with_wrong_images(spec: EpisodeSpec, classes: Sequence[Sequence[ClipSpec]], name: str) -> EpisodeSpec:
    """The episode with supports of one of `classes`, all different if the class has enough of them."""
    draw = rng("wrong support", name, spec.group, spec.seed, spec.index)
    clips = classes[int(draw.integers(len(classes)))]
    order = draw.permutation(len(clips))
    return replace(spec, supports=tuple(clips[order[k % len(clips)]] for k in range(spec.shots)))


def _shown(source: Source, clips: Iterable[ClipSpec]) -> dict[str, set[int]]:
    """Video or image -> the classes that it shows."""
    return {clip.video: {said.class_id for said in source.expressions(clip.video)} for clip in clips}


def _there(supports: Found | None, source: Source, class_id: int) -> Found:
    if supports:
        return supports
    folds = getattr(source, "folds", None)
    name = f"class {class_id}" if folds is None else folds.class_name(class_id)
    raise ValueError(f"wrong_support needs supports that do not show {name}, and all of the list do")


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
