"""Training of UniVS on clips with all their objects: one clip of each video, or several of longer ones in turn.

Li et al., UniVS, CVPR 2024, sections 3.5 and 4.1. In the third stage a video is cut into clips: from the second on,
prompts also read what their objects looked like in the first, and embeddings are compared over all clips.

Legend: B videos, T frames, F frames of a clip, N objects, P prompts, K classes, D width of the text, R tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from fewshot.nn.outputs import Losses
from fewshot.systems.univs import lessons
from fewshot.systems.univs.criterion import (
    Criterion,
    HeadOutput,
    Terms,
    likeness_terms,
    matched_entries,
    prompt_entries,
)
from fewshot.systems.univs.decoder import Found, Scenes
from fewshot.systems.univs.draws import Draws
from fewshot.systems.univs.lessons import LessonRules, Looks, Question, Said
from fewshot.systems.univs.likeness import Entries, contrast_of_clips
from fewshot.systems.univs.network import Network
from fewshot.systems.univs.targets import UNKNOWN, Asked, Targets
from fewshot.systems.univs.visual_prompts import mask_prompts, scene_of


@dataclass(frozen=True)
class Lesson:
    """Videos of one task and data set.

    Attributes:
        features: as `UniVS.frame_features` gives them, of `B * T` frames.
        moments: `(B, T)` index of each frame in its video.
        targets: of each video.
        concepts: `(K, D)` of the classes of the data set; None: classes play no part.
        said: expressions; None: there are none.
    """

    features: Sequence[Tensor]
    moments: Tensor
    targets: Sequence[Targets]
    concepts: Tensor | None = None
    said: Said | None = None

    def clip(self, frames: Tensor) -> Lesson:
        """Some of the frames."""
        b, t = self.moments.shape
        features = [x.unflatten(0, (b, t))[:, frames].flatten(0, 1) for x in self.features]
        targets = [x.frames(frames) for x in self.targets]
        return replace(self, features=features, moments=self.moments[:, frames], targets=targets)


@dataclass(frozen=True)
class Reply:
    """A clip that was answered: the question, if there was one, the objects that it meant, and the answers."""

    found: list[Found]
    question: Question | None
    objects: list[Tensor] | None


@dataclass(frozen=True)
class School:
    """The training of UniVS.

    Attributes:
        rules: how clips are asked.
        criterion: losses.
        clip_frames: F; 0: a video is one clip.
    """

    rules: LessonRules = field(default_factory=LessonRules)
    criterion: Criterion = field(default_factory=Criterion)
    clip_frames: int = 0

    def losses(self, model: Network, lesson: Lesson, draws: Draws) -> Losses:
        """Losses of one batch, by head."""
        if lesson.said is None:  # what expressions mean is known by its place
            fewer = [x.at_most(self.rules.most_objects, draws) for x in lesson.targets]
            lesson = replace(lesson, targets=fewer)
        visual = lesson.said is None and (lesson.concepts is None or draws.coin() < self.rules.visual_share)
        frames = lesson.moments.shape[1]
        if not 0 < self.clip_frames < frames:
            reply = self.answer(model, lesson, visual, draws)
            return self.of_reply(model, lesson, reply, self.criterion, draws)[0]
        return self.of_long_videos(model, lesson, visual, draws)

    def of_reply(
        self, model: Network, lesson: Lesson, reply: Reply, criterion: Criterion, draws: Draws
    ) -> tuple[Losses, list[Entries]]:
        """Losses of one clip, and for each head the embeddings that those of other clips are compared with."""
        asked = None if reply.question is None else reply.question[1]
        learnable = model.sizes.num_queries
        terms: Terms = {}
        entries = [Entries.none(reply.found[0].embeddings)] * len(reply.found)
        last = len(reply.found) - 1
        for k in (last, *range(last)):
            head = HeadOutput.of(reply.found[k], lesson.concepts is not None)
            own, matches = criterion.of_head(head, learnable, lesson.targets, asked, draws)
            terms.update({name if k == last else f"{name}_{k}": value for name, value in own.items()})
            parts = [matched_entries(head.rows(slice(learnable)), [x.ids for x in lesson.targets], matches)]
            if asked is not None and asked[0].segments is None:
                shown = head.rows(slice(learnable, None))
                parts.insert(0, prompt_entries(shown, [a.numbers for a in asked], [there(a) for a in asked]))
            entries[k] = Entries.joined(parts)
        return criterion.weighted(terms), entries

    def answer(
        self,
        model: Network,
        lesson: Lesson,
        visual: bool,
        draws: Draws,
        objects: list[Tensor] | None = None,
        memory: Looks | None = None,
    ) -> Reply:
        """Ask and answer one clip.

        Args:
            objects: that are asked for with visual prompts; None: they are drawn.
            memory: see `show`.
        """
        scenes, frames = model.scenes(lesson.features, lesson.moments), lesson.moments.shape[1]
        question: Question | None = None
        if visual:
            key = int(draws.order(frames)[0])
            if objects is None:
                objects = lessons.choose(lesson.targets, key, self.rules.most_objects, draws)
            if len(objects[0]):
                looks = lessons.look(model, scenes, lesson.targets, objects, key, draws, self.rules.shuffled)
                asked = [Asked.of_objects(t, own) for t, own in zip(lesson.targets, objects, strict=True)]
                question = lessons.show(model, looks, frames, draws.coin() > 0.5, memory), asked
        elif lesson.said is not None:
            objects = list(lesson.said.objects)
            question = lessons.describe(model, scenes, lesson.targets, lesson.said, memory)
        elif lesson.concepts is not None:
            most = self.rules.most_objects
            question = lessons.name_classes(model, scenes, lesson.targets, lesson.concepts, most, draws)
        rounds = model.sizes.decoder_layers + 1
        orders = [draws.order(frames) for _ in range(rounds)] if self.rules.permute_time else None
        prompts = None if question is None else question[0]
        found = model.segment(scenes, prompts, concepts=lesson.concepts, orders=orders, every_head=True)
        return Reply(found, question, objects)

    # ------------------------------------------------------------------------------------------------- long videos

    def of_long_videos(self, model: Network, lesson: Lesson, visual: bool, draws: Draws) -> Losses:
        """Losses of videos clip by clip, the mean over the clips, and of the embeddings of all clips together."""
        criterion = replace(self.criterion, likeness=self.criterion.likeness / 2)
        starts = clip_starts(lesson.moments.shape[1], self.clip_frames)
        objects, memory, parts, entries = None, None, [], []
        for number, start in enumerate(starts):
            clip = lesson.clip(torch.arange(start, start + self.clip_frames))
            reply = self.answer(model, clip, visual, draws, objects, memory)
            losses, own = self.of_reply(model, clip, reply, criterion, draws)
            parts.append(losses)
            entries.append(own)
            objects = reply.objects if visual else None
            if number == 0 and len(starts) > 1 and reply.objects is not None and reply.question is not None:
                memory = self.remember(model, clip, reply.objects, draws)
        terms = {name: torch.stack([x.terms[name] for x in parts if name in x.terms]).sum() for name in parts[0].terms}
        terms = {name: value / len(parts) for name, value in terms.items()}
        heads = [Entries.joined(list(own)) for own in zip(*entries, strict=True)]
        for k, every in enumerate(heads[1:], 1):
            pair = contrast_of_clips(every, draws)
            suffix = "" if k == len(heads) - 1 else f"_{k}"
            found = likeness_terms(pair, "loss_reid_interclip", every.embeddings)
            terms.update({f"{name}{suffix}": value for name, value in found.items()})
        return criterion.weighted(terms)

    @torch.no_grad()
    def remember(self, model: Network, clip: Lesson, objects: list[Tensor], draws: Draws) -> Looks:
        """What the objects look like in the last frames of a clip, `(B, P, R * frames, C)`.

        The frames count from the first of the clip, not from that of the video: released weights were trained so.
        """
        b, frames = clip.moments.shape
        scenes = model.scenes(clip.features, torch.arange(frames).expand(b, -1))
        last = max(1 + int(draws.some(1, frames)[0]), frames // 3 + 1)
        seen = [
            [self.seen(model, scenes, v * frames + k, targets, own, k, draws) for k in range(frames - last, frames)]
            for v, (targets, own) in enumerate(zip(clip.targets, objects, strict=True))
        ]
        tokens, positions = (torch.stack([torch.cat([x[n] for x in video], 1) for video in seen]) for n in range(2))
        return tokens, positions

    def seen(
        self, model: Network, scenes: Scenes, frame: int, targets: Targets, objects: Tensor, k: int, draws: Draws
    ) -> Looks:
        """What the objects of a video look like in its frame `k`, the `frame`-th of the batch: `(P, R, C)` both."""
        asked = Asked.of_objects(targets, objects)
        boxes = targets.boxes[:, k][objects.clamp(min=0)] if len(targets) else asked.masks.new_zeros(len(objects), 4)
        masks = asked.masks[:, k].float()
        found = mask_prompts(scene_of(scenes, frame), masks, boxes.float(), model.sizes.dense_points, draws)
        return found.tokens, found.positions


def in_short(losses: Losses, heads: int) -> Losses:
    """The same total with one term of each kind: the mean over the heads, 0 where it plays no part."""
    terms: Terms = {}
    for kind in ("loss_ce", "loss_mask", "loss_dice", "loss_reid"):
        own = [value.detach() for name, value in losses.terms.items() if name.startswith(kind)]
        terms[kind] = torch.stack(own).sum() / heads if own else losses.total.new_zeros(())
    return Losses(losses.total, terms)


def there(asked: Asked) -> Tensor:
    """Prompts that ask for something that is there."""
    return (asked.ids != UNKNOWN).nonzero()[:, 0]


def clip_starts(frames: int, clip: int) -> list[int]:
    """First frames of the clips of a video: each begins with the last frame of the one before; the last is at the end.

    Of 7 frames, clips of 5: 0 and 2.
    """
    starts = list(range(0, frames - clip + 1, max(clip - 1, 1)))
    return starts if starts[-1] + clip == frames else [*starts, frames - clip]
