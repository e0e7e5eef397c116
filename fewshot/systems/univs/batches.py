"""From a batch of training clips to what UniVS learns from.

Legend: B videos, E expressions of each, T frames, N objects, (H, W) the padded frame, D width of the text.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from episodes.batch import ClipBatch, EpisodeBatch
from episodes.clip import Objects
from fewshot.losses.masks import target_masks
from fewshot.systems.univs.decoder import LONGEST
from fewshot.systems.univs.lessons import Said
from fewshot.systems.univs.network import Network
from fewshot.systems.univs.school import Lesson
from fewshot.systems.univs.targets import UNKNOWN, Targets, boxes_of


def lesson_of(model: Network, batch: EpisodeBatch) -> Lesson | None:
    """The videos of a batch with all of their objects, or with expressions; None where there is neither.

    Raises:
        ValueError: objects without masks, or expressions that nothing reads.
    """
    clips = batch.queries
    if batch.supports is not None:
        return None
    if clips.objects:
        targets = [targets_of(own, clips) for own in clips.objects]
        # names are read anew in every batch: a small text tower learns
        concepts = model.embed_classes(clips.vocabulary, batch.specs[0].benchmark) if clips.vocabulary else None
        return Lesson(model.frame_features(clips), moments_of(clips), targets, concepts)
    if all(text is None for text in clips.expressions):
        return None
    return said_lesson(model, batch)


def said_lesson(model: Network, batch: EpisodeBatch) -> Lesson:
    """Videos with the objects that their expressions mean, each once."""
    clips, count = batch.queries, len(batch.queries) // len(batch)
    words = model.encode_text(clips.expressions)
    assert words is not None
    masks = target_masks(clips)
    targets, objects = [], []
    for v, spec in enumerate(batch.specs):
        numbers = [query.object_id for query in spec.queries]
        distinct = list(dict.fromkeys(numbers))
        own = torch.stack([masks[v * count + numbers.index(k)] for k in distinct])
        targets.append(targets_from(torch.tensor(distinct), None, own, clips))
        objects.append(torch.tensor([distinct.index(k) for k in numbers]))
    said = Said(
        words.words.unflatten(0, (-1, count)),
        words.sentences.unflatten(0, (-1, count)),
        torch.stack(objects).to(clips.frames.device),
    )
    shown = replace(clips, frames=clips.frames[::count], moments=clips.moments[::count])
    return Lesson(model.frame_features(shown), moments_of(shown), targets, None, said)


def targets_of(objects: Objects, clips: ClipBatch) -> Targets:
    """All objects of one clip on its padded frames."""
    if objects.masks is None:
        raise ValueError("UniVS learns from masks, and there are none: give clips with the masks of all objects")
    return targets_from(objects.ids, objects.labels if clips.vocabulary else None, objects.masks, clips)


def targets_from(ids: Tensor, labels: Tensor | None, masks: Tensor, clips: ClipBatch) -> Targets:
    """Targets from numbers and classes `(N,)` and masks `(N, T, h, w)`, seen or not."""
    height, width = clips.frames.shape[-2:]
    padded = F.pad(masks, (0, width - masks.shape[-1], 0, height - masks.shape[-2]))
    ids = ids.to(masks.device)[:, None]
    shown = torch.where(padded.flatten(2).any(2), ids - ids.min() if len(ids) else ids, UNKNOWN)
    known = torch.full_like(ids[:, 0], UNKNOWN) if labels is None else labels
    return Targets(known, shown, padded, boxes_of(padded))


def moments_of(clips: ClipBatch) -> Tensor:
    """Places of the frames in their videos `(B, T)`, moved to the front where they lie beyond the longest video."""
    b, t = clips.frames.shape[:2]
    if not clips.moments:
        return torch.arange(t).expand(b, -1)
    moments = torch.tensor(clips.moments)
    return moments - (moments.amax(1, keepdim=True) - (LONGEST - 1)).clamp(min=0)
