"""VidEoMT, hosted from transformers: its outputs are those of transformers, frame by frame."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from fewshot.cli.checks import check_stage
from fewshot.cli.composition import composed, register_schemas
from fewshot.cli.program import checked
from fewshot.cli.runs import StageConfig
from fewshot.config.task_sections import PartConfig
from fewshot.systems.registry import make_system, systems
from fewshot.systems.video_tasks import Settled, VideoQuestion, Vocabulary
from fewshot.systems.videomt import build as building
from fewshot.systems.videomt.config import SMALL, VidEoMTConfig
from fewshot.testing import noise_clips
from fewshot.weights.checkpoint import CheckpointError
from fewshot.weights.load import load_official

pytestmark = pytest.mark.skipif(
    not hasattr(transformers, building.NEEDED), reason=f"transformers {transformers.__version__} has no VidEoMT"
)
CLASSES = Vocabulary(("dax", "toma", "ground"), frozenset({2}))
SIZE = (40, 50)


def system() -> Any:
    """A small random one whose queries differ, and are sure of their classes."""
    made: Any = make_system(VidEoMTConfig(**SMALL), 0).eval()
    generator = torch.Generator().manual_seed(35)
    for parameter in made.network.parameters():
        if parameter.ndim > 1:
            parameter.data = 0.4 * torch.randn(parameter.shape, generator=generator)
    made.network.class_predictor.weight.data *= 20
    return made


def frames(count: int) -> Tensor:
    """`(1, T, 3, 64, 64)`."""
    return torch.cat([noise_clips(1, 1, seed=t).frames for t in range(count)], 1)


@torch.no_grad()
def answers(model: Any, kind: str, count: int) -> list[Settled]:
    """What is settled in a video of noise."""
    task = systems()["videomt"].video_task(model, kind, 1)  # type: ignore[misc]
    state, found = task.start(VideoQuestion(SIZE, CLASSES)), []
    for t in range(count):
        state, settled = task.step(state, noise_clips(1, 1, seed=t))
        found.append(settled)
    return [*found, task.end(state)]


@torch.no_grad()
def test_queries_go_from_frame_to_frame_as_in_transformers() -> None:
    model, video, queries = system(), frames(3), None
    whole = model.network(pixel_values_videos=video)
    for t in range(3):
        masks, classes, queries = model.look(video[:, t], queries)
        assert torch.equal(masks, whole.masks_queries_logits[t])
        assert torch.equal(classes, whole.class_queries_logits[t])


@torch.no_grad()
def test_classes_and_segments_of_a_frame_are_those_of_transformers() -> None:
    model = system()
    processor, output = transformers.VideomtVideoProcessor(), model.network(pixel_values_videos=frames(1))
    (wanted,) = processor.post_process_semantic_segmentation(output, [SIZE])
    found = answers(model, "vss", 1)[0].labels
    assert found is not None and torch.equal(found[0], wanted) and len(wanted.unique()) > 1
    (panoptic,) = processor.post_process_panoptic_segmentation(output, [SIZE], label_ids_to_fuse={2})
    settled = answers(model, "vps", 1)[0]
    assert settled.labels is not None and panoptic["segments_info"]
    own = {part.number: part.label for part in settled.segments}
    label_of = {-1: None, **{s["id"]: s["label_id"] for s in panoptic["segments_info"]}}
    pairs = set(zip(settled.labels.flatten().tolist(), panoptic["segmentation"].flatten().tolist(), strict=True))
    assert len(pairs) == len(label_of) and all(own.get(ours) == label_of[theirs] for ours, theirs in pairs)


def test_a_query_is_one_track_and_its_class_the_mean_of_the_frames() -> None:
    model = system()
    *settled, last = answers(model, "vis", 3)
    with torch.no_grad():
        classes = model.network(pixel_values_videos=frames(3)).class_queries_logits.softmax(-1).mean(0)[:, :-1]
    best = last.tracks[0]
    assert best.score == pytest.approx(float(classes.max())) and [best.id, best.label] == list(
        divmod(int(classes.argmax()), 3)
    )
    assert [track.score for track in last.tracks] == sorted((t.score for t in last.tracks), reverse=True)
    assert all(s.masks is not None and s.masks.shape == (len(s.ids), 1, *SIZE) for s in settled)


def test_files_of_transformers_are_read(tmp_path: Any) -> None:
    """The settings are those that the tensors imply, and every tensor is used."""
    theirs = building.network(VidEoMTConfig(**{**SMALL, "hidden_dim": 64, "heads": 1})).eval()
    tensors = theirs.state_dict()
    settings, model = building.fit(tensors, None)
    assert settings == VidEoMTConfig(**{**SMALL, "hidden_dim": 64, "heads": 1})
    report = load_official(model, tensors, "model.safetensors", building.plan)
    assert report.used == report.total == len(tensors) and not report.fresh
    with torch.no_grad():
        wanted = theirs(pixel_values_videos=frames(1)).masks_queries_logits[0]
        assert torch.equal(model.eval().look(frames(1)[:, 0], None)[0], wanted)
    with pytest.raises(CheckpointError, match="no VidEoMT of transformers: it has no query.weight"):
        load_official(model, {"what": torch.zeros(1)}, "model.safetensors", building.plan)


def test_classes_of_another_data_set_and_frames_of_another_size_are_refused() -> None:
    model = system()
    task = systems()["videomt"].video_task(model, "vis", 1)  # type: ignore[misc]
    with pytest.raises(ValueError, match=r"tell 3 classes apart and 2 are asked for: .* \(ovis\)"):
        task.start(VideoQuestion(SIZE, Vocabulary(("dax", "toma")), data="ovis"))
    state = task.start(VideoQuestion(SIZE, CLASSES))
    with pytest.raises(ValueError, match="built for frames of 64x64: give task.rule=square task.short=64"):
        task.step(state, noise_clips(1, 1, (64, 96)))


def test_an_older_transformers_is_refused_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "transformers", SimpleNamespace(__version__="5.0.0"))
    with pytest.raises(ValueError, match="needs a transformers that has VidEoMT, and 5.0.0 has none: pip install"):
        make_system(VidEoMTConfig(**SMALL), 0)


def test_it_is_not_trained_here() -> None:
    register_schemas()
    with pytest.raises(ValueError, match="system videomt takes no references, so that benchmark synthetic is not for"):
        checked(composed("meta_train", ["system=videomt", "benchmark=synthetic"]))
    stage = StageConfig(stage="mine", system=VidEoMTConfig(), parts={"a": PartConfig(kind="vos", benchmark="x")})
    with pytest.raises(ValueError, match="takes no references, so that stage mine is not for it: bring its weights"):
        check_stage(stage)
