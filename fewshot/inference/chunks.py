"""From clips to masks: supports encoded once, query clips segmented in chunks of consecutive frames.

Legend: T frames, (H, W) network size, (Ho, Wo) original size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from episodes.clip import Clip
from episodes.collation import collate_clips
from episodes.episode import Episode
from fewshot.inference.look import SharedReferences, answers, read_references
from fewshot.systems.base import System

DEFAULT_CHUNK = 10  # frames of one forward pass at test time (CMA)


@contextmanager
def evaluating(system: System) -> Iterator[None]:
    """Puts the system in eval mode without gradients, and every module back as it was at the end."""
    modes = [(module, module.training) for module in system.modules()]
    system.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def encode_supports(system: System, supports: Sequence[Clip], device: torch.device | str) -> Any:
    """Encode one episode's supports (normalised frames, masks at their own resolution); None for none."""
    if not supports:
        return None
    return system.encode_supports(collate_clips(supports, system.pad_multiple).to(device), len(supports))


def segment_clip(
    system: System, clip: Clip, references: Sequence[SharedReferences], device: torch.device | str
) -> list[list[Tensor]]:
    """Mask logits `(T, H, W)`, float32 on the CPU, of one clip for each reference of each of `references`.

    The frames are looked at once. Each reference takes its own best candidate.
    """
    seen = system.with_features(collate_clips([clip], system.pad_multiple).to(device))
    return [
        [
            system.logits(prediction, clips, n).cpu()
            for prediction, clips in answers(system, seen, shared)
            for n in range(len(clips))
        ]
        for shared in references
    ]


def segment_clips(
    system: System, clips: Sequence[Clip], supports: Any, *, chunk: int, device: torch.device | str
) -> list[Tensor]:
    """Mask logits `(T, H, W)`, float32 on the CPU, of query clips that show the same frames.

    The frames are cut into chunks of `chunk` consecutive ones (the last may be shorter). Each chunk is segmented on
    its own with the same references: the encoded `supports` of one episode, and its words, which are encoded once. Each
    takes its own best candidate (CMA, as it is tested).
    """
    if chunk < 1:
        raise ValueError(f"a chunk needs at least 1 frame, got {chunk}")
    references = read_references(system, [clip.expression for clip in clips], supports)
    parts = [
        segment_clip(system, frame_range(clips[0], start, start + chunk), [references], device)[0]
        for start in range(0, len(clips[0].frames), chunk)
    ]
    return [torch.cat(pieces) for pieces in zip(*parts, strict=True)]


def of_same_frames(clips: Sequence[Clip]) -> list[list[Clip]]:
    """Clips in their order, in runs of those that show the same frames."""
    found: list[list[Clip]] = []
    for clip in clips:
        if found and torch.equal(found[-1][0].frames, clip.frames):
            found[-1].append(clip)
        else:
            found.append([clip])
    return found


def frame_range(clip: Clip, start: int, stop: int) -> Clip:
    """Frames `start..stop-1` of a query clip, as a model is given them: no objects."""
    return replace(
        clip,
        frames=clip.frames[start:stop],
        objects=None,
        ignore=None,
        frame_names=clip.frame_names[start:stop],
    )


def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps `(T, h, w)` (bool or float) as float32 `(T, *size)`, bilinear with half-pixel centres."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps.float()
    return F.interpolate(maps[:, None].float(), size=size, mode="bilinear", align_corners=False)[:, 0]


def nearest(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks `(T, h, w)` bool at another size, `(T, *size)` bool, the value of the nearest pixel."""
    if tuple(masks.shape[-2:]) == tuple(size):
        return masks
    return F.interpolate(masks[:, None].float(), size=size, mode="nearest")[:, 0].bool()


def masks_at(probabilities: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks `(T, Ho, Wo)` bool at the original size: probabilities resized bilinearly, 0.5 and above is the object."""
    return resize(probabilities, size) >= 0.5


def segment_queries(system: System, episode: Episode, *, chunk: int = DEFAULT_CHUNK) -> list[Tensor]:
    """Segment every query of an episode: one `(T, Ho, Wo)` bool mask per query expression.

    Args:
        system: any system, on any device; it is used in eval mode.
        episode: loaded clips with normalised float frames, as `EpisodeDataset` gives them.
        chunk: frames of one forward pass.

    Returns:
        Masks at the size of the frames on disk (at network size where that is not known), on the CPU.

    Raises:
        ValueError: frames that have not been normalised.
    """
    for clip in (*episode.supports, *episode.queries):
        if clip.frames.dtype == torch.uint8:
            raise ValueError(
                f"clip {clip.video!r} holds raw pixels: apply episodes.transforms.clips.TestTransform first"
            )
    device = next(system.parameters()).device
    with evaluating(system):
        supports = encode_supports(system, episode.supports, device)
        found = [
            logits
            for clips in of_same_frames(episode.queries)
            for logits in segment_clips(system, clips, supports, chunk=chunk, device=device)
        ]
    return [
        masks_at(logits.sigmoid(), clip.original_size or clip.size)
        for logits, clip in zip(found, episode.queries, strict=True)
    ]
