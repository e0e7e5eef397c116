"""VidEoMT: tracks, classes and panoptic segments of videos by a plain Vision Transformer, frame by frame.

Norouzi et al., "VidEoMT: Your ViT is Secretly Also a Video Segmentation Model", CVPR 2026. In the last layers queries
join the patches, and what a query was after a frame is where it starts in the next, so that it follows one thing. The
network is that of transformers, and so are its rules for an image; over a video the class of a query is the mean of its
frames. It was trained on the classes of one data set and takes no reference: it answers tasks on whole videos alone.

Legend: Q queries, K classes, C width, (h, w) a map of patches, (Ho, Wo) the size of the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from episodes.batch import ClipBatch
from fewshot.nn.outputs import Losses, Prediction
from fewshot.systems.base import ReferenceState, System
from fewshot.systems.video_tasks import NOTHING, FoundTrack, PanopticPart, Settled, VideoQuestion, VideoTask

NOTICED = 0.01  # probability of a class from which a query's masks are kept as a track
TRACKS = 100  # of a video, classes of queries
SURE, OWN_SHARE = 0.8, 0.8  # of a panoptic segment: its probability, and the share of its own pixels that it must win


class VidEoMT(System):
    """A VidEoMT of transformers.

    Args:
        network: `transformers.VideomtForUniversalSegmentation`.
        queries: Q.
    """

    name = "videomt"
    accepts = frozenset()
    needs = frozenset()
    video_kinds = frozenset(("vis", "vss", "vps"))

    def __init__(self, network: Any, queries: int) -> None:
        super().__init__()
        self.network: Any = network
        self.queries = queries
        self.side: int = network.config.image_size
        self.classes: int = network.config.num_labels

    def look(self, frame: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """A frame `(1, 3, side, side)` and the queries `(1, Q, C)` after the one before; None: there was none.

        Returns:
            Mask logits `(Q, h, w)`, class logits `(Q, K + 1)`, the last of which is no thing, and the queries.
        """
        net = self.network
        x = net.embeddings(frame)
        joined = net.num_hidden_layers - net.config.num_blocks
        for layer in net.layers[:joined]:
            x = layer(x)
        own = net.query.weight[None]
        x = torch.cat([own if before is None else net.query_updater(before) + own, x], 1)
        for layer in net.layers[joined:]:
            x = layer(x)
        masks, classes = net.predict(net.layernorm(x))
        return masks[0], classes[0], x[:, : self.queries]

    def encode_supports(self, supports: ClipBatch, shots: int) -> Any:
        """Raise ValueError: it takes no references."""
        raise ValueError(REFUSAL)

    def forward(self, queries: ClipBatch, state: ReferenceState) -> Prediction:
        """Raise ValueError: it takes no references."""
        raise ValueError(REFUSAL)

    def losses(self, prediction: Prediction, queries: ClipBatch, num_frames: float | None = None) -> Losses:
        """Raise ValueError: it is not trained here."""
        raise ValueError("videomt is not trained here, as transformers does not train it on videos: bring its weights")


REFUSAL = "videomt takes no references, it finds the classes that it was trained on: test it with task=... of videos"


@dataclass(frozen=True)
class Seen:
    """What is known of a video: the queries `(1, Q, C)`, the sum of their class probabilities `(Q, K + 1)`, frames."""

    question: VideoQuestion
    queries: Tensor | None = None
    sums: Tensor | None = None
    frames: int = 0


def task_of(system: VidEoMT, kind: str, clip_frames: int) -> VideoTask:
    """The way through videos for a task; frames are looked at one by one.

    Raises:
        ValueError: it does not answer this task.
    """
    if kind not in system.video_kinds:
        raise ValueError(f"videomt does not answer task {kind}, but {', '.join(sorted(system.video_kinds))}")
    return FrameByFrame(system, kind)


class FrameByFrame(VideoTask):
    """Every frame is settled at once."""

    def __init__(self, system: VidEoMT, kind: str) -> None:
        self.system, self.kind = system, kind

    def start(self, question: VideoQuestion) -> Seen:
        """Nothing is seen yet. Raises ValueError for another number of classes than the weights tell apart."""
        asked = 0 if question.vocabulary is None else len(question.vocabulary.names)
        if asked != self.system.classes:
            raise ValueError(
                f"these weights of videomt tell {self.system.classes} classes apart and {asked} are asked for: take "
                f"weights of this data set ({question.data or 'not named'}), or set system.classes={asked}"
            )
        return Seen(question)

    def step(self, state: Seen, frame: ClipBatch, given: Mapping[int, Tensor] = NOTHING) -> tuple[Seen, Settled]:
        """See `VideoTask.step`. Raises ValueError for a frame of another size than the network was built for."""
        side = self.system.side
        if tuple(frame.frames.shape[-2:]) != (side, side):
            raise ValueError(f"videomt was built for frames of {side}x{side}: give task.rule=square task.short={side}")
        masks, logits, queries = self.system.look(frame.frames[0], state.queries)
        now = logits.float().softmax(-1)
        state = replace(
            state, queries=queries, sums=now if state.sums is None else state.sums + now, frames=state.frames + 1
        )
        answer: Settled = getattr(self, self.kind)(state, masks.float(), now)
        return state, answer

    def vss(self, state: Seen, masks: Tensor, now: Tensor) -> Settled:
        """The class of each pixel, by this frame alone."""
        scores = torch.einsum("qk,qhw->khw", now[:, :-1], masks.sigmoid())
        return Settled(1, labels=large(scores, state.question.size).argmax(0)[None].cpu())

    def vps(self, state: Seen, masks: Tensor, now: Tensor) -> Settled:
        """Segments of the queries; those of one stuff are one. Query q is number q + 1, stuff k is Q + k + 1."""
        assert state.sums is not None and state.question.vocabulary is not None
        numbers = torch.zeros(state.question.size, dtype=torch.long)
        scores, labels = (state.sums / state.frames).max(-1)
        rows = ((labels < self.system.classes) & (scores > SURE)).nonzero()[:, 0].tolist()
        parts: list[PanopticPart] = []
        if rows:
            inside = large(masks[rows], state.question.size).sigmoid()
            winner = (scores[rows, None, None] * inside).argmax(0)
            for n, q in enumerate(rows):
                own, won = inside[n] >= 0.5, winner == n
                kept, label = won & own, int(labels[q])
                if not kept.any() or float(won.sum()) <= OWN_SHARE * float(own.sum()):
                    continue
                stuff = label in state.question.vocabulary.stuff
                part = PanopticPart(self.system.queries + label + 1 if stuff else q + 1, label)
                numbers[kept.cpu()] = part.number
                parts.append(part)
        return Settled(1, labels=numbers[None], segments=tuple(parts))

    def vis(self, state: Seen, masks: Tensor, now: Tensor) -> Settled:
        """The masks of the queries that may be a thing here."""
        rows = (now[:, :-1].amax(1) > NOTICED).nonzero()[:, 0].tolist()
        if not rows:
            return Settled(1, masks=torch.zeros(0, 1, *state.question.size, dtype=torch.bool))
        return Settled(1, tuple(rows), (large(masks[rows], state.question.size) > 0)[:, None].cpu())

    def end(self, state: Seen) -> Settled:
        """The tracks: the most likely classes of queries, by the mean over the frames."""
        if self.kind != "vis" or state.sums is None:
            return Settled(0)
        means = (state.sums / state.frames)[:, :-1].cpu()
        best = means.flatten().sort(descending=True, stable=True).indices[:TRACKS].tolist()
        rows = ((*divmod(at, means.shape[1]), float(means.flatten()[at])) for at in best)
        tracks = (FoundTrack(query, label, score) for query, label, score in rows)
        return Settled(0, tracks=tuple(track for track in tracks if track.score > NOTICED))


def large(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps `(N, h, w)` at the size of the result, bilinearly."""
    return F.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]
