"""Segmentation of a user's own images and videos, for `Model.segment`.

The reference of each class or expression is encoded once; frames are read, segmented and forgotten a chunk at a time.

Legend: N classes or expressions, T frames, (Ho, Wo) original size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from typing import Any, Union

import torch
from torch import Tensor

from episodes.clip import Clip
from episodes.collation import collate_clips
from episodes.transforms.clips import ResizeTransform
from episodes.transforms.input_rule import InputRule
from fewshot.inference.chunks import DEFAULT_CHUNK, encode_supports, evaluating, masks_at, resize
from fewshot.inference.components import largest_components, without_holes
from fewshot.inference.look import SharedReferences, answers, read_references
from fewshot.inference.supports import SupportList, read_supports
from fewshot.media.media import Media, width_by_height
from fewshot.media.reading import MediaSource, open_media
from fewshot.nn.outputs import Prediction
from fewshot.systems.base import System

MOST_NAMES = 255  # ids of a label map
MOST_PIXELS = 2**23  # of a frame as the network sees it, 2048 x 4096
Text = Union[str, Sequence[str], Mapping[str, str]]


@dataclass(frozen=True)
class Result:
    """Masks and scores found in an image (T is 1) or a video, on the CPU.

    Attributes:
        names: `N` classes or expressions.
        masks: `(N, T, Ho, Wo)` bool; those of several classes may overlap.
        scores: `(N, T)` float32, 0..1: how sure the system is that the thing is there, by its own score of the
            candidate that was taken, or by the mean probability inside the mask where a system gives no score.
        labels: `(T, Ho, Wo)` uint8: 0 nothing, k the class `names[k - 1]`; where masks overlap the most probable.
        frame_names: `T` names, from the files where there are any.
    """

    names: tuple[str, ...]
    masks: Tensor
    scores: Tensor
    labels: Tensor
    frame_names: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Tensor:
        """The masks `(T, Ho, Wo)` of one class or expression."""
        if name not in self.names:
            raise KeyError(f"no {name!r} in this result: it holds {', '.join(map(repr, self.names))}")
        return self.masks[self.names.index(name)]


@dataclass(frozen=True)
class Referent:
    """A thing to look for: supports with their masks, an expression, or both refer to it."""

    name: str
    supports: tuple[Clip, ...] = ()
    expression: str | None = None


def name_referents(
    system: System, support: SupportList | Mapping[str, SupportList] | None, text: Text | None
) -> list[Referent]:
    """Referents of a call, one for each class or expression.

    Raises:
        ValueError: the system cannot take this, or it is not clear which words belong to which class.
    """
    check_reference(system, support is not None, text is not None)
    words = None if text is None else _expressions(text)
    if support is None:
        referents = [Referent(name, (), expression) for name, expression in (words or {}).items()]
    elif isinstance(support, Mapping):
        classes = read_supports(support)
        each = _words_of_classes(text, words, list(classes))
        referents = [Referent(name, clips, each[name]) for name, clips in classes.items()]
    else:
        (clips,) = read_supports(support).values()
        expressions: dict[str, str | None] = {"object": None} if words is None else {**words}
        referents = [Referent(name, clips, expression) for name, expression in expressions.items()]
    if len(referents) > MOST_NAMES:
        raise ValueError(f"{len(referents)} classes or expressions at once: a label map holds {MOST_NAMES}")
    return referents


def check_reference(system: System, support: bool, text: bool) -> None:
    """Refuse what a system cannot take, and what it cannot do without."""
    how = {"support": "supports (images with masks)", "expression": "text"}
    keyword = {"support": "support", "expression": "text"}
    given = {part for part, there in (("support", support), ("expression", text)) if there}
    for part in sorted(given - system.accepts):
        raise ValueError(f"system {system.name!r} takes no {how[part]}: leave {keyword[part]}=... away")
    for part in sorted(system.needs - given):
        also = f", also with {keyword[min(given)]}=..." if given else ""
        raise ValueError(f"system {system.name!r} needs {how[part]}{also}: give {keyword[part]}=...")
    if not given:
        ways = " or ".join(f"{keyword[part]}=..." for part in sorted(system.accepts, reverse=True))
        raise ValueError(f"nothing says what to look for: give {ways}")


def _expressions(text: Text) -> dict[str, str]:
    """Expressions by name; one without a name is its own."""
    if isinstance(text, Mapping):
        named = {str(name): expression for name, expression in text.items()}
    else:
        listed = [text] if isinstance(text, str) else list(text)
        if len(set(listed)) < len(listed):
            raise ValueError(f"text holds the same expression twice: {listed}")
        named = {str(expression): expression for expression in listed}
    if not named:
        raise ValueError("text is an empty list: give at least one expression, or leave it away")
    for name, expression in named.items():
        if not isinstance(expression, str) or not expression.strip():
            raise ValueError(f"the expression {name!r} holds no words: give some, or leave text away")
    return named


def _words_of_classes(text: Text | None, words: dict[str, str] | None, classes: list[str]) -> dict[str, str | None]:
    """The expression of each class: none, the same for all, or by name."""
    if words is None:
        return dict.fromkeys(classes)
    if isinstance(text, str):
        return dict.fromkeys(classes, text)
    if not isinstance(text, Mapping) or set(words) != set(classes):
        raise ValueError(
            f"which words belong to which class? Give text={{class: expression}} for the classes "
            f"{', '.join(map(repr, classes))}, or one text for all of them"
        )
    return {name: words[name] for name in classes}


class Segmenter:
    """Referents encoded once, to be found in any number of frames.

    Args:
        system: any system, on any device; it is used in eval mode and left as it was.
        referents: the things to look for.
        rule: how frames become input of the network.
        min_score: frames with a lower score get an empty mask, 0..1.
        largest_component: keep the largest connected part of each mask alone.
        fill_holes: fill what a mask encloses (of its largest part, where both are asked for).

    Raises:
        ValueError: an invalid score, or supports so long and thin that the network would see too many pixels.
    """

    def __init__(
        self,
        system: System,
        referents: Sequence[Referent],
        rule: InputRule,
        *,
        min_score: float = 0.0,
        largest_component: bool = False,
        fill_holes: bool = False,
    ) -> None:
        if not 0 <= min_score <= 1:
            raise ValueError(f"min_score must lie between 0 and 1, got {min_score}")
        self.system, self.referents, self.min_score = system, tuple(referents), min_score
        self.largest_component, self.fill_holes = largest_component, fill_holes
        self.fit = rule.transform()
        self.references = encode_referents(system, referents, self.fit)

    def segment(self, source: MediaSource, *, chunk: int = DEFAULT_CHUNK) -> Result:
        """Find the referents in an image or a video in any form. Arguments and errors as of `Model.segment`."""
        return join([result for _, result in self.results(open_media(source), chunk)])

    def results(self, media: Media, chunk: int) -> Iterator[tuple[Tensor, Result]]:
        """Frames `(T, 3, Ho, Wo)` uint8 with their result, chunk by chunk."""
        for names, frames in media.chunks(chunk):
            yield frames, self(frames, names)

    def __call__(self, frames: Tensor, names: tuple[str, ...] = ()) -> Result:
        """Find the referents in consecutive frames `(T, 3, Ho, Wo)` uint8, which are looked at once for all of them.

        Raises ValueError for frames so long and thin that the network would see too many pixels.
        """
        clip = Clip(frames=frames, frame_names=names)
        network_clip = fitted(clip, self.fit, "the input")
        masks, scores = [], []
        labels = torch.zeros(len(frames), *clip.size, dtype=torch.uint8)
        highest = torch.full(labels.shape, -1.0)  # below every probability: a filled hole may have none
        for k, (found, score) in enumerate(self._find(network_clip), 1):
            seen = (score >= self.min_score)[:, None, None]
            probabilities = resize(found, clip.size)
            masks.append(self._tidy(masks_at(found, clip.size)) & seen)
            scores.append(score)
            wins = masks[-1] & (probabilities > highest)
            labels[wins], highest[wins] = k, probabilities[wins]
        things = tuple(referent.name for referent in self.referents)
        return Result(things, torch.stack(masks), torch.stack(scores), labels, names)

    def _tidy(self, masks: Tensor) -> Tensor:
        """Masks `(T, Ho, Wo)` bool with what was asked for done to each: one part, no holes."""
        if self.largest_component:
            masks = largest_components(masks)
        return without_holes(masks) if self.fill_holes else masks

    def _find(self, clip: Clip) -> list[tuple[Tensor, Tensor]]:
        """Mask probabilities `(T, h, w)` of a network clip and scores `(T,)` for each referent."""
        results = []
        with evaluating(self.system):
            queries = collate_clips([clip], self.system.pad_multiple).to(device_of(self.system))
            seen = self.system.with_features(queries)
            for references in self.references:
                for prediction, clips in answers(self.system, seen, references):
                    for n in range(len(clips)):
                        probabilities = self.system.probabilities(prediction, clips, n).float().cpu()
                        results.append((probabilities, confidence(prediction, probabilities, n)))
        return [(found.clone(), score.clone()) for found, score in results]  # outside inference mode: plain tensors


def fitted(clip: Clip, fit: ResizeTransform, name: str) -> Clip:
    """The clip as the network sees it. Raises ValueError where that is too many pixels."""
    height, width = fit.target(clip.size)
    if height * width > MOST_PIXELS:
        raise ValueError(
            f"{name} is {width_by_height(clip.size)} (width x height), and the network would see it at "
            f"{width}x{height}: crop it, or give a smaller size"
        )
    return fit(clip)


def device_of(system: System) -> torch.device:
    """Device of the weights of a system."""
    return next(system.parameters()).device


def encode_referents(system: System, referents: Sequence[Referent], fit: ResizeTransform) -> list[SharedReferences]:
    """The references of the referents, in their order; those in a row that share supports (and the words on them)
    share their encoding, and their forward passes.
    """
    known: dict[Any, Any] = {}
    with evaluating(system):
        alike = [(_supports_key(system, referent), referent) for referent in referents]
        groups = [(key, [r for _, r in group]) for key, group in groupby(alike, key=itemgetter(0))]
        for key, (referent, *_) in groups:
            if key not in known:
                clips = _support_clips(system, referent)
                seen = [fitted(clip, fit, f"the support {clip.video}") for clip in clips]
                known[key] = encode_supports(system, seen, device_of(system))
        return [read_references(system, [r.expression for r in group], known[key]) for key, group in groups]


def _support_clips(system: System, referent: Referent) -> list[Clip]:
    """The supports of a referent with the words on them.

    A system that cannot do without words reads the supports with them: their own, or those of the query.
    """
    default = referent.expression if "expression" in system.needs else None
    return [replace(clip, expression=clip.expression or default) for clip in referent.supports]


def _supports_key(system: System, referent: Referent) -> Any:
    return tuple((id(clip.frames), clip.expression) for clip in _support_clips(system, referent))


def confidence(prediction: Prediction, probabilities: Tensor, n: int = 0) -> Tensor:
    """Scores 0..1 `(T,)` of clip `n`: see `Result.scores`. `probabilities` is `(T, h, w)`."""
    if prediction.scores is not None:
        best = prediction.best()[n][:, None]
        return prediction.scores[n].float().sigmoid().gather(1, best)[:, 0].cpu()
    inside = (probabilities >= 0.5).flatten(1)
    return (probabilities.flatten(1) * inside).sum(1) / inside.sum(1).clamp(min=1)


def join(parts: Sequence[Result]) -> Result:
    """Results of consecutive chunks as one."""
    return Result(
        parts[0].names,
        torch.cat([p.masks for p in parts], 1),
        torch.cat([p.scores for p in parts], 1),
        torch.cat([p.labels for p in parts]),
        tuple(name for p in parts for name in p.frame_names),
    )
