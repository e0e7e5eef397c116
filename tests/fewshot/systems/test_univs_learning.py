"""UniVS learns: what is asked in training, and that every kind of batch gives losses of the same terms."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from episodes.batch import EpisodeBatch
from episodes.clip import Clip, Objects
from episodes.collation import collate
from episodes.episode import ClipSpec, Episode, EpisodeSpec
from fewshot.systems.registry import make_system
from fewshot.systems.univs.batches import lesson_of
from fewshot.systems.univs.config import SMALL, UniVSConfig
from fewshot.systems.univs.draws import Draws
from fewshot.systems.univs.lessons import Said, choose, describe, look, name_classes
from fewshot.systems.univs.mixed_prompts import mixed_prompts
from fewshot.systems.univs.model import UniVS
from fewshot.systems.univs.points import PointSampling, at_points
from fewshot.systems.univs.school import clip_starts
from fewshot.systems.univs.targets import UNKNOWN, Targets
from fewshot.systems.univs.visual_prompts import scene_of

SIZE, WORDS = 64, ("circle", "square", "star", "ground")
TERMS = {"loss_ce", "loss_mask", "loss_dice", "loss_reid"}


def model(**settings: object) -> UniVS:
    system = make_system(UniVSConfig(**{**SMALL, "mask_points": 64, **settings}), 0).train()
    assert isinstance(system, UniVS)
    return system


def clip(seed: int, frames: int, expression: str | None = None, names: tuple[str, ...] = WORDS) -> Clip:
    """A square that moves and one that is there at first only; with an expression the first alone."""
    pixels = torch.randn(frames, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    masks = torch.zeros(2, frames, SIZE, SIZE, dtype=torch.bool)
    for t in range(frames):
        masks[0, t, 4 + t : 34 + t, 8:40] = True
    masks[1, 0, 40:60, 40:64] = True
    valid = masks.flatten(2).any(2)
    boxes = torch.zeros(2, frames, 4)
    everything = Objects(torch.tensor([7, 9]), torch.tensor([seed % 2, 2]), masks, boxes, valid, exhaustive=True)
    objects = everything if expression is None else Objects.one(masks[0], boxes[0], valid[0], 7)
    moments = tuple(range(3, 3 + frames))
    return Clip(pixels, objects, expression, f"v{seed}", vocabulary=() if expression else names, moments=moments)


def batch(
    frames: int = 2, expression: str | None = None, names: tuple[str, ...] = WORDS, again: int = 1
) -> EpisodeBatch:
    """Two clips; with an expression `again` times as many queries."""
    episodes = []
    for seed in (0, 1):
        own = clip(seed, frames, expression, names)
        said = ClipSpec(own.video, 7 if expression else 0, tuple(map(str, range(frames))), expression)
        spec = EpisodeSpec("world", 0, "train", 0, seed, 1, "object", (), (said,) * again)
        episodes.append(Episode(spec, (), (own,) * again))
    return collate(episodes, 32)


@pytest.mark.parametrize(
    ("what", "settings"),
    [
        ("looks", {"visual_share": 1.0}),
        ("names", {"visual_share": 0.0}),
        ("things", {}),
        ("words", {}),
        ("long looks", {"visual_share": 1.0, "clip_frames": 2}),
        ("long names", {"visual_share": 0.0, "clip_frames": 2}),
        ("long words", {"clip_frames": 2}),
    ],
)
def test_every_kind_of_batch_teaches_what_it_asks(what: str, settings: dict[str, object]) -> None:
    """The gradient reaches the task's embedding, and the text tower where something is read."""
    system, frames = model(**settings), 4 if what.startswith("long") else 2
    if what.endswith("words"):
        asked = batch(frames, "the dax", again=2)
    else:
        asked = batch(frames, names=() if what == "things" else WORDS)
    losses = system.batch_losses(asked, float(asked.queries.valid.sum()))
    assert losses is not None and set(losses.terms) == TERMS and losses.total.isfinite()
    losses.total.backward()
    task = {"looks": "sot", "things": "sot", "names": "detection", "words": "grounding"}[what.split()[-1]]
    grown = {name for name in system.tasks if system.tasks[name].weight.grad is not None}
    assert grown == {task}
    assert system.text is not None
    read = any(p.grad is not None and p.grad.any() for p in system.text.parameters())
    assert read == (what != "things")
    assert (losses.terms["loss_ce"] > 0) == (what not in ("things", "words", "long words"))


def test_losses_depend_on_the_episodes_alone_and_micro_batches_share_a_step() -> None:
    system, asked = model(), batch()
    frames = float(asked.queries.valid.sum())
    first, second, half = (system.batch_losses(asked, n) for n in (frames, frames, 2 * frames))
    assert first is not None and second is not None and half is not None
    assert first.total == second.total and half.total == first.total / 2


def test_few_shot_episodes_are_asked_by_their_supports() -> None:
    asked = batch(1, "the dax")
    assert model().batch_losses(replace(asked, supports=asked.queries, shots=1), 1.0) is None
    assert lesson_of(model(), batch(1, names=())) is not None


def targets() -> list[Targets]:
    """Of two clips: two objects, of which the second is seen in frame 0 alone; and one that is never in frame 0."""
    lesson = lesson_of(model(), batch())
    assert lesson is not None
    first, second = lesson.targets
    hidden = Targets(second.labels[:1], second.ids[:1].clone(), second.masks[:1].clone(), second.boxes[:1])
    hidden.ids[:, 0], hidden.masks[:, 0] = UNKNOWN, False
    return [first, hidden]


def test_prompts_are_objects_of_the_key_frame_again_where_there_are_fewer() -> None:
    first, hidden = targets()
    one, none = choose([first, hidden], 0, 20, Draws.seeded(0))
    assert sorted(one.tolist()) == [0, 1] and none.tolist() == [UNKNOWN] * 2
    again = choose([first, hidden], 1, 20, Draws.seeded(0))
    assert [own.tolist() for own in again] == [[0], [0]]
    assert [len(own) for own in choose([first, first], 0, 1, Draws.seeded(0))] == [1, 1]
    assert [len(own) for own in choose([hidden], 0, 20, Draws.seeded(0))] == [0]


def test_looks_have_no_gradient_and_an_absent_object_none_at_all() -> None:
    system, own = model(), targets()
    lesson = lesson_of(system, batch())
    assert lesson is not None
    scenes = system.scenes(lesson.features, lesson.moments)
    tokens, positions = look(system, scenes, own, choose(own, 0, 20, Draws.seeded(0)), 0, Draws.seeded(0))
    assert tokens.shape == positions.shape == (2, 2, system.sizes.dense_points, system.sizes.hidden_dim)
    assert not tokens.requires_grad and tokens[0].any() and not tokens[1].any()


def test_looks_of_mixed_kinds_stay_with_their_objects_unless_shuffled() -> None:
    class Kinds(Draws):
        def kinds(self, count: int) -> torch.Tensor:
            return torch.tensor([0.1, 0.9])  # a point, then a mask

    system, (own, _) = model(), targets()
    lesson = lesson_of(system, batch())
    assert lesson is not None
    scene = scene_of(system.scenes(lesson.features, lesson.moments), 0)
    given = (own.masks[:, 0], own.boxes[:, 0], 8)
    right, wrong = (
        mixed_prompts(scene, *given, Kinds(torch.Generator().manual_seed(0)), shuffled=x) for x in (False, True)
    )
    assert torch.equal(right.tokens[[1, 0]], wrong.tokens) and torch.equal(right.positions, wrong.positions)
    assert (right.tokens[0] == right.tokens[0, :1]).all()  # a point looks the same in all of its tokens


def test_names_ask_for_what_is_there_and_for_some_of_what_is_not() -> None:
    system, own = model(), targets()
    lesson = lesson_of(system, batch())
    assert lesson is not None and lesson.concepts is not None
    scenes = system.scenes(lesson.features, lesson.moments)
    question = name_classes(system, scenes, own, lesson.concepts, 20, Draws.seeded(0))
    assert question is not None
    prompts, (first, second) = question
    assert prompts.content.shape[1] == 2 and first.labels.tolist() == [0, 2]
    assert second.ids.tolist() == [0, UNKNOWN] and second.labels[0] == 1 and second.labels[1] != 1
    assert not second.masks[1].any() and second.segments is not None
    assert set(second.segments[1].unique().tolist()) == {UNKNOWN, 0} and (second.segments[0] == UNKNOWN).all()


def test_expressions_of_one_object_ask_for_the_same_thing() -> None:
    system, own = model(), targets()[:1]
    said = Said(torch.randn(1, 3, 5, 32), torch.randn(1, 3, 32), torch.tensor([[1, 0, 1]]))
    scenes = system.scenes(system.encode_frames(torch.randn(2, 3, SIZE, SIZE)), torch.arange(2)[None])
    prompts, (asked,) = describe(system, scenes, own, said)
    assert asked.ids.tolist() == [1, 0, 1] and prompts.positions is None and prompts.sentences is not None
    assert asked.numbers.tolist() == [[2, UNKNOWN], [0, 0], [2, UNKNOWN]]
    memory = torch.randn(1, 3, 8, 32)
    longer = describe(system, scenes, own, said, (memory, memory))[0].tokens
    assert longer.shape[3] == prompts.tokens.shape[3] + 8


def test_clips_of_a_longer_video_share_a_frame_and_reach_its_end() -> None:
    assert clip_starts(7, 5) == [0, 2] and clip_starts(3, 2) == [0, 1] and clip_starts(9, 5) == [0, 4]
    assert clip_starts(5, 5) == [0] and clip_starts(3, 1) == [0, 1, 2]


def test_half_of_the_points_lie_where_a_mask_is_least_sure() -> None:
    logits = torch.linspace(-9, 9, 64).expand(2, 64, 64)
    points = PointSampling(400, 3.0, 0.5).uncertain(logits, Draws.seeded(0))
    assert points.shape == (2, 400, 2)
    sure = at_points(logits, points).abs()
    assert sure[:, :200].max() < 4 and sure[:, 200:].max() > 8
