"""What the prompts of a training clip ask for: objects by their looks, classes by name, objects by expressions.

Legend: B videos, T frames, N objects, P prompts, K classes, D width of the text, C width, L tokens of a prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fewshot.systems.univs import prompts
from fewshot.systems.univs.decoder import Prompts, Scenes
from fewshot.systems.univs.draws import Draws
from fewshot.systems.univs.mixed_prompts import mixed_prompts
from fewshot.systems.univs.network import Network
from fewshot.systems.univs.targets import UNKNOWN, Asked, Targets
from fewshot.systems.univs.visual_prompts import scene_of

Looks = tuple[Tensor, Tensor]  # tokens and positions `(B, P, L, C)`
Question = tuple[Prompts, list[Asked]]  # prompts, and what each video's ask for


@dataclass(frozen=True)
class LessonRules:
    """How training clips are asked.

    Attributes:
        visual_share: share of the clips with classes that are asked with masks, boxes and points; the others with
            names.
        most_objects: of one clip that are learnt; classes and objects that are its prompts.
        shuffled: see `mixed_prompts`.
        permute_time: the mask of a frame is drawn by the query of another one, so that queries are alike over time.
    """

    visual_share: float = 0.31
    most_objects: int = 20
    shuffled: bool = False
    permute_time: bool = True


@dataclass(frozen=True)
class Said:
    """Expressions of the videos of a batch.

    Attributes:
        words: `(B, P, L, D)`.
        sentences: `(B, P, D)`.
        objects: `(B, P)` int64 the object of each video that an expression means, by its index.
    """

    words: Tensor
    sentences: Tensor
    objects: Tensor


# ------------------------------------------------------------------------------------------------------ by their looks


def choose(targets: Sequence[Targets], key: int, most: int, draws: Draws) -> list[Tensor]:
    """Objects that are prompts, `(P,)` indices for each video: those of frame `key`, again where there are fewer.

    `UNKNOWN` in a video that shows none there; P is 0 where no video does.
    """
    there = [(x.ids[:, key] != UNKNOWN).nonzero()[:, 0] for x in targets]
    count = min(max(map(len, there)), most)
    chosen = []
    for x in there:
        own = x[draws.order(len(x)).to(x.device)][:count]
        again = torch.arange(count, device=x.device) % max(len(own), 1)
        chosen.append(own[again] if len(own) else torch.full_like(again, UNKNOWN))
    return chosen


@torch.no_grad()
def look(
    model: Network,
    scenes: Scenes,
    targets: Sequence[Targets],
    objects: Sequence[Tensor],
    key: int,
    draws: Draws,
    shuffled: bool = False,
) -> Looks:
    """What the `objects` of each video look like in frame `key`; an object that comes again looks the same.

    Without gradient, as released.
    """
    frames = scenes.moments.shape[1]
    tokens: list[Tensor] = []
    positions: list[Tensor] = []
    for v, (target, own) in enumerate(zip(targets, objects, strict=True)):
        distinct = own[: len(own.unique())]  # the first ones; then they come again
        known = target[distinct[distinct != UNKNOWN]]
        scene = scene_of(scenes, v * frames + key)
        count = model.sizes.dense_points
        seen = mixed_prompts(scene, known.masks[:, key], known.boxes[:, key], count, draws, shuffled=shuffled)
        again = torch.arange(len(own), device=own.device) % max(len(distinct), 1)
        for kept, x in ((tokens, seen.tokens), (positions, seen.positions)):
            kept.append(x[again] if len(known) else x.new_zeros(len(own), *x.shape[1:]))
    return torch.stack(tokens), torch.stack(positions)


def show(model: Network, looks: Looks, frames: int, by_position: bool, memory: Looks | None = None) -> Prompts:
    """Prompts that start as their `looks` and read them, after what is in the `memory`."""
    tokens, positions = (x[:, :, None] for x in looks)
    read = tokens, positions
    if memory is not None:
        seen, lay = (torch.cat([old[:, :, None], new], 3) for old, new in zip(memory, read, strict=True))
        read = seen, lay
    asked = prompts.visual(tokens, positions, *read, model.task("sot"), by_position=by_position)
    return prompts.for_frames(asked, frames)


# -------------------------------------------------------------------------------------------------------------- by name


def name_classes(
    model: Network, scenes: Scenes, targets: Sequence[Targets], concepts: Tensor, most: int, draws: Draws
) -> Question | None:
    """The classes that each video shows, by name, and absent ones where another video shows more; None without any.

    Args:
        concepts: `(K, D)` of the data set.
    """
    present = [x.labels[x.labels != UNKNOWN].unique()[:most] for x in targets]
    count = max(map(len, present))
    if not count:
        return None
    labels = [_with_absent(x, count, len(concepts), draws) for x in present]
    texts = torch.stack([concepts[x] for x in labels])
    asked = [_asked_by_class(t, x, len(own)) for t, x, own in zip(targets, labels, present, strict=True)]
    return model.name_classes(scenes, texts), asked


def _with_absent(present: Tensor, count: int, classes: int, draws: Draws) -> Tensor:
    """Classes `(count,)`: those that are present, then others, which are drawn; again where there are no more."""
    others = torch.tensor([k for k in range(classes) if k not in set(present.tolist())], dtype=torch.int64)
    drawn = torch.cat([present, others[draws.order(len(others))].to(present.device)])
    return drawn[torch.arange(count, device=present.device) % len(drawn)]


def _asked_by_class(targets: Targets, labels: Tensor, present: int) -> Asked:
    """What names of classes ask for: all objects of the class, of the first `present` ones."""
    index = torch.arange(len(labels), device=labels.device)
    ids = torch.where(index < present, index, UNKNOWN)
    masks = torch.stack(
        [targets.masks[(targets.labels == x) & (k >= 0)].any(0) for x, k in zip(labels, ids, strict=True)]
    )
    segments = torch.where(masks.any(0), masks.int().argmax(0), UNKNOWN)
    numbers = ids[:, None].expand(-1, masks.shape[1])
    return Asked(ids, numbers, labels, masks, segments)


# ------------------------------------------------------------------------------------------------------- by expressions


def describe(
    model: Network, scenes: Scenes, targets: Sequence[Targets], said: Said, memory: Looks | None = None
) -> Question:
    """Expressions as prompts, which have no position, as what is in the `memory` of their objects has none then."""
    asked = model.describe(scenes, said.words, said.sentences)
    if memory is not None:
        frames = asked.tokens.shape[2]
        tokens = torch.cat([memory[0][:, :, None].expand(-1, -1, frames, -1, -1), asked.tokens], 3)
        asked = replace(asked, tokens=tokens)
    return asked, [Asked.of_objects(t, own) for t, own in zip(targets, said.objects, strict=True)]
