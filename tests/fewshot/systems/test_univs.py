"""UniVS: videos clip by clip, and what the states remember."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from experiments.speed import video_length
from experiments.speed.video_length import FULL, one_frame, question_of, task_of, walk
from fewshot.systems.registry import make_system
from fewshot.systems.univs.answers import Candidates
from fewshot.systems.univs.concepts import ROWS, slice_of
from fewshot.systems.univs.config import SMALL, UniVSConfig
from fewshot.systems.univs.decoder_layers import who_may_not_meet
from fewshot.systems.univs.draws import Draws
from fewshot.systems.univs.entities import EntityRules, EntityState
from fewshot.systems.univs.entity_session import EntitySession, EntityVideo, SemanticSession
from fewshot.systems.univs.expression_session import ExpressionSession
from fewshot.systems.univs.model import UniVS
from fewshot.systems.univs.object_session import ObjectSession, ObjectVideo
from fewshot.systems.univs.objects import ObjectState, ObjectTracker

SIZE, FRAMES, CLIP, MEMORY = (64, 64), 9, 2, 3


def model() -> UniVS:
    system = make_system(UniVSConfig(**SMALL), 0).eval()
    assert isinstance(system, UniVS)
    return system


def features(system: UniVS, frames: int = FRAMES) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        return list(system.encode_frames(torch.randn(frames, 3, *SIZE, generator=generator)))


def given() -> dict[int, dict[int, Tensor]]:
    mask = torch.zeros(SIZE, dtype=torch.bool)
    other = mask.clone()
    mask[8:32, 8:32], other[30:60, 30:60] = True, True
    return {0: {1: mask}, 3: {4: other}}


def follow_objects(system: UniVS, *, bounded: bool) -> list[ObjectVideo]:
    session = ObjectSession(system, ObjectTracker(MEMORY, threshold=-1.0, bounded=bounded), Draws.seeded(0))
    video, maps = ObjectVideo(ObjectState.start((1, 4), SIZE, SIZE, system.sizes.hidden_dim)), features(system)
    videos = []
    for start in range(FRAMES - CLIP + 1):
        video = session.step(video, [x[start : start + CLIP] for x in maps], start, given())
        videos.append(video)
    return videos


def test_a_memory_that_forgets_gives_the_tracks_of_one_that_does_not() -> None:
    """What is dropped is read by nobody, and the state stops growing."""
    system = model()
    short, long = follow_objects(system, bounded=True), follow_objects(system, bounded=False)
    for a, b in zip(short, long, strict=True):
        assert torch.equal(a.tracks.masks, b.tracks.masks)
        assert torch.equal(a.tracks.logits, b.tracks.logits)
    assert short[-1].memory is not None and long[-1].memory is not None
    assert short[-1].memory.tokens.shape[1] == MEMORY and long[-1].memory.tokens.shape[1] == FRAMES
    assert short[-1].tracks.embeddings.shape[1] == MEMORY + 1 and long[-1].tracks.embeddings.shape[1] == FRAMES


def test_clips_may_be_longer_than_the_memory() -> None:
    """Then the frames of a clip are what is remembered."""
    system, frames = model(), 4
    session = ObjectSession(system, ObjectTracker(2, threshold=-1.0), Draws.seeded(0))
    video, maps = ObjectVideo(ObjectState.start((1, 4), SIZE, SIZE, system.sizes.hidden_dim)), features(system)
    for start in range(FRAMES - frames + 1):
        video = session.step(video, [x[start : start + frames] for x in maps], start, given())
    assert video.tracks.masks.shape[1] == video.tracks.embeddings.shape[1] == frames + 1
    assert torch.equal(video.tracks.first, torch.tensor([0, 3]))


def test_frames_of_a_video_longer_than_those_of_training_have_codes_of_their_own() -> None:
    """The moment of a frame is its index over 128, as published, wherever the video ends."""
    system = model()
    scenes = system.scenes(features(system, 2), torch.tensor([[127, 256]]))
    assert scenes.moments.tolist() == [[127 / 128, 2.0]]
    assert not torch.equal(*scenes.positions[0])


def test_an_object_is_nowhere_before_it_is_given() -> None:
    videos = follow_objects(model(), bounded=False)
    assert videos[0].tracks.first.tolist() == [0, -1]
    assert not videos[0].tracks.masks[1].any()
    assert videos[2].tracks.first.tolist() == [0, 3]
    assert torch.equal(videos[2].tracks.masks[1, -1], given()[3][4])


def test_a_video_runs_through_every_session() -> None:
    """Entities, classes of pixels and expressions, on the same features."""
    system = model()
    maps, concepts = features(system, 3), torch.randn(5, 32, generator=torch.Generator().manual_seed(1))
    rules = EntityRules(memory=MEMORY, threshold=-1.0, stability=-1.0, first_score=-1.0, later_score=-1.0, share=None)
    entities = EntitySession(system, concepts, slice(1, 4), rules)
    video = EntityVideo(EntityState.start(CLIP, SIZE, SIZE, system.sizes.hidden_dim, 3))
    assert system.text is not None
    with torch.no_grad():
        words, sentences = system.text(["a dax", "the left one"])
    said = ExpressionSession(system, words, sentences)
    tracks = ObjectState.start((0, 1), SIZE, SIZE, system.sizes.hidden_dim)
    for start in (0, 1):
        clip = [x[start : start + CLIP] for x in maps]
        video, tracks = entities.step(video, clip, start), said.step(tracks, clip, start)
    assert len(video.entities) > 0 and video.entities.logits.shape[1:] == (3, *SIZE)
    assert video.memory is not None and video.memory.end == 3
    assert tracks.masks.shape == (2, 3, *SIZE)
    labels = SemanticSession(system, concepts, slice(1, 4)).step(maps, 0, SIZE, (50, 60))
    assert labels.shape == (3, 50, 60) and set(labels.unique().tolist()) <= {0, 1, 2}


def test_class_prompts_change_nothing_in_the_answers_of_learnable_queries() -> None:
    system, concepts = model(), torch.randn(5, 32, generator=torch.Generator().manual_seed(1))
    maps = features(system, 2)
    first, second = (
        SemanticSession(system, concepts, slice(1, 4), name_classes=named).step(maps, 0, SIZE, SIZE)
        for named in (False, True)
    )
    assert torch.equal(first, second)


def test_a_video_that_starts_empty_finds_things_later_unless_asked_to_stay_so() -> None:
    """The released rules never start an entity where nothing is known."""
    system, concepts = model(), torch.randn(5, 32, generator=torch.Generator().manual_seed(1))
    maps, counts = features(system, 3), []
    for start_late in (True, False):
        rules = EntityRules(threshold=-1.0, stability=-1.0, first_score=2.0, later_score=-1.0, start_late=start_late)
        session = EntitySession(system, concepts, slice(0, 5), rules)
        video = EntityVideo(EntityState.start(CLIP, SIZE, SIZE, system.sizes.hidden_dim, 5))
        for start in (0, 1):
            video = session.step(video, [x[start : start + CLIP] for x in maps], start)
        counts.append(len(video.entities))
    assert counts[0] > 0 and counts[1] == 0


def test_a_frame_may_show_none_of_the_objects() -> None:
    system = model()
    scenes = system.scenes(features(system, 1), torch.zeros(1, 1))
    found = system.show(scenes, 0, torch.zeros(0, *SIZE), Draws.seeded(0))
    assert found.tokens.shape == (0, system.sizes.dense_points, system.sizes.hidden_dim)


def test_unknown_vocabularies_and_separations_are_refused() -> None:
    assert slice_of("ytvis21") == slice(2203, 2243)
    assert max(first + count for first, count in ROWS.values()) == 3938
    with pytest.raises(ValueError, match="no class embeddings of 'dax'"):
        slice_of("dax")
    with pytest.raises(ValueError, match="unknown separation 'some'"):
        who_may_not_meet("some", 1, 1, 1)
    with pytest.raises(ValueError, match="hidden_dim=48 must be a multiple of 32"):
        UniVSConfig(hidden_dim=48, heads=4).check()


@pytest.mark.parametrize("kind", ["vis", "vps"])
def test_entities_of_a_long_video_are_written_in_windows_and_forgotten(kind: str) -> None:
    """As many as may be are followed, and what is held in 29 frames is what is held in 39."""
    most = [walk(kind, frames, SIZE, CLIP)[1] for frames in (29, 39)]
    assert most[0] == most[1]


def test_windows_give_the_masks_of_a_state_that_keeps_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where entities do not compete, and none is forgotten."""
    found, forgot = [], []
    forget = EntitySession.forget
    monkeypatch.setattr(EntitySession, "forget", lambda *given: forgot.append(1) or forget(*given))
    for window in (10, 1000):
        monkeypatch.setattr(video_length, "FULL", replace(FULL, window=window, memory=2))
        task = task_of("vis", CLIP)
        state, parts, generator = task.start(question_of("vis", SIZE)), [], torch.Generator().manual_seed(0)
        with torch.no_grad():
            for _ in range(16):
                state, settled = task.step(state, one_frame(SIZE, generator))
                parts.append(settled)
        last = task.end(state)
        masks = [part.masks for part in [*parts, last] if part.frames]
        assert sum(part.frames for part in [*parts, last]) == 16
        assert all(mask is not None and len(mask) == len(last.ids) > 4 for mask in masks)
        found.append((torch.cat([mask for mask in masks if mask is not None], 1), last.ids))
    assert torch.equal(found[0][0], found[1][0]) and found[0][1] == found[1][1]
    assert len(forgot) == 1


def test_what_is_long_out_of_sight_makes_room() -> None:
    """Where more than half of the places are taken, those that no kept frame shows are forgotten."""
    state = EntityState.start(3, SIZE, SIZE, 8, 2)
    logits = torch.full((3, 3, *SIZE), -1.0)
    logits[0, 0], logits[2, 2] = 1.0, 1.0
    state = replace(state, logits=logits, ids=torch.arange(3), scores=torch.zeros(3, 1, 2))
    assert EntityRules(most=4).in_sight(state).tolist() == [0, 2]
    assert EntityRules(most=6).in_sight(state).tolist() == [0, 1, 2]


def test_no_more_entities_are_found_than_may_be_followed() -> None:
    most = EntityRules(
        threshold=-1.0, stability=-1.0, first_score=-1.0, later_score=-1.0, box_limit=2.0, share=None, most=2
    )
    system, concepts = model(), torch.randn(5, 32, generator=torch.Generator().manual_seed(1))
    session, maps = EntitySession(system, concepts, slice(0, 5), most), features(system, 4)
    video = EntityVideo(EntityState.start(CLIP, SIZE, SIZE, system.sizes.hidden_dim, 5))
    for start in range(3):
        video = session.step(video, [x[start : start + CLIP] for x in maps], start)
    assert len(video.entities) == 2 and video.entities.ids.tolist() == [0, 1]


def test_things_that_are_found_late_have_a_place_in_a_memory_that_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """In every clip one joins: another of the first that was found."""
    discover = EntityRules.discover

    def one_more(rules: EntityRules, state: EntityState, found: Candidates, start: int) -> EntityState:
        state = discover(rules, state, found, start)
        names = ("scores", "embeddings", "likeness", "logits", "boxes", "occurrence", "quality", "first", "ids")
        return replace(state, **{name: torch.cat([x := getattr(state, name), x[:1]]) for name in names})

    monkeypatch.setattr(EntityRules, "discover", one_more)
    rules = EntityRules(memory=CLIP, threshold=-1.0, stability=-1.0, first_score=-1.0, later_score=9.0, share=None)
    system, concepts = model(), torch.randn(5, 32, generator=torch.Generator().manual_seed(1))
    session, maps = EntitySession(system, concepts, slice(1, 4), rules), features(system)
    video = EntityVideo(EntityState.start(CLIP, SIZE, SIZE, system.sizes.hidden_dim, 3))
    for start in range(4):
        before = len(video.entities)
        video = session.step(video, [x[start : start + CLIP] for x in maps], start)
        assert len(video.entities) > before
        assert video.memory is None or len(video.memory.tokens) == before
