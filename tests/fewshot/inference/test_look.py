"""One look at a video: frames are encoded once for all objects and expressions, words once, with the same numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from episodes.clip import Clip
from episodes.collation import collate_clips
from episodes.sources.base import normalise
from episodes.sources.tasks import open_task_source
from episodes.transforms.clips import FitTransform
from episodes.transforms.input_rule import InputRule
from experiments.speed import looks as timings
from fewshot.evaluation.tasks.frames import FrameReader
from fewshot.evaluation.tasks.predictors import RISPredictor
from fewshot.evaluation.tasks.samples import samples_of
from fewshot.evaluation.tasks.windows import WindowPredictor
from fewshot.inference import look
from fewshot.inference.chunks import encode_supports, evaluating, segment_clips
from fewshot.inference.model import Model
from fewshot.inference.trackers import FrameMasks, RVOSTracker, Tracker, VOSTracker
from fewshot.systems.base import System
from fewshot.systems.registry import make_system, systems
from tests.episodes.videos import FRAMES
from tests.fewshot.evaluation.tasks.trees import PAIR, write_ref_davis, write_refcoco
from tests.fewshot.inference.squares import RED_SUPPORT, VIDEO

TEXTS = ("the red one", "a blue dax on the left of it", "it")
ALL = ("cma", "referformer", "sgmg", "uniref", "uniref_sam")


class Looks:
    """Counts the frames that a system looks at and the expressions that it reads."""

    def __init__(self, system: System) -> None:
        self.frames, self.texts = 0, 0
        eye = system.sam.image_encoder if hasattr(system, "sam") else system.backbone
        assert isinstance(eye, nn.Module) and isinstance(system.text, nn.Module)
        eye.register_forward_hook(self._see)
        system.text.register_forward_hook(self._read)

    def _see(self, module: nn.Module, inputs: tuple[Tensor, ...], output: object) -> None:
        self.frames += len(inputs[0])

    def _read(self, module: nn.Module, inputs: tuple[tuple[str, ...], ...], output: object) -> None:
        self.texts += len(inputs[0])


@pytest.fixture(params=ALL)
def system(request: pytest.FixtureRequest) -> System:
    spec = systems()[request.param]
    return make_system(spec.config(name=spec.name, **spec.small), 0).eval()


def clips_of_one_video(count: int = 4) -> list[Clip]:
    """The same noise, asked by each of three expressions."""
    frames = torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    return [Clip(frames, expression=text, video="v") for text in TEXTS]


def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """References do not share a forward pass."""
    monkeypatch.setattr(look, "PIXELS_AT_ONCE", 1)


def close(found: Tensor, wanted: Tensor, limit: float = 1e-6) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=limit)


def test_the_expressions_of_an_episode_share_the_look_at_each_chunk(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips, looks, supports = clips_of_one_video(), Looks(system), None
    with evaluating(system):
        if "support" in system.needs:
            support = clips[1].with_masks((torch.arange(64) < 40).expand(4, 64, 64))
            supports = encode_supports(system, [support], "cpu")
        looks.frames, looks.texts = 0, 0
        together = segment_clips(system, clips, supports, chunk=2, device="cpu")
        assert (looks.frames, looks.texts) == (4, 3)
        one_by_one(monkeypatch)
        apart = segment_clips(system, clips, supports, chunk=2, device="cpu")
        assert (looks.frames, looks.texts) == (8, 6), "also where each has a forward pass of its own"
    for a, b in zip(together, apart, strict=True):
        close(a.sigmoid(), b.sigmoid(), 4e-6 if system.name == "cma" else 1e-6)  # it takes logarithms of features


def test_a_system_that_tells_expressions_apart_afterwards_gets_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = systems()["sgmg"]
    system = make_system(spec.config(name=spec.name, **{**spec.small, "fast": True}), 0).eval()
    with evaluating(system):
        together = segment_clips(system, clips_of_one_video(), None, chunk=2, device="cpu")
        one_by_one(monkeypatch)
        apart = segment_clips(system, clips_of_one_video(), None, chunk=2, device="cpu")
    assert all(torch.equal(a, b) for a, b in zip(together, apart, strict=True))


def test_several_expressions_of_a_video_of_your_own_share_its_frames(system: System) -> None:
    model = Model(system, InputRule("short", 64))
    support = [RED_SUPPORT] if "support" in system.needs else None
    looks, video = Looks(system), VIDEO[:4, :, :64]
    together = model.segment(video, support=support, text=TEXTS, chunk=2)
    shown = 3 if support else 0  # such a system reads the support with the words of each expression
    assert (looks.frames, looks.texts) == (4 + shown, 3 + shown)
    for k, mask in enumerate(together.masks, start=1):
        assert not ((together.labels == k) & ~mask).any(), "one map without overlaps: a label lies in its mask"
    assert torch.equal(together.labels > 0, together.masks.any(0))
    for k, text in enumerate(TEXTS):
        alone = model.segment(video, support=support, text=text, chunk=2)
        close(together.scores[k], alone.scores[0])
        assert torch.equal(together.masks[k], alone.masks[0])


@pytest.fixture(params=["uniref", "uniref_sam"])
def tracked(request: pytest.FixtureRequest) -> System:
    spec = systems()[request.param]
    return make_system(spec.config(name=spec.name, **spec.small), 0).eval()


def frames_of_a_video() -> list:
    (clip,) = clips_of_one_video()[:1]
    return [collate_clips([Clip(frame[None])]) for frame in clip.frames]


def followed(tracker: Tracker, state: object, given: dict[int, Tensor] | None = None) -> list[FrameMasks]:
    results = []
    with torch.inference_mode():
        for number, frame in enumerate(frames_of_a_video()):
            state, found = tracker.step(state, frame, *([given] if given and number == 0 else []))
            results.append(found)
    return results


def test_objects_of_a_video_share_one_look_at_each_frame(tracked: System, monkeypatch: pytest.MonkeyPatch) -> None:
    looks, tracker = Looks(tracked), VOSTracker(tracked, threshold=None)
    given = {k: torch.zeros(64, 64) > 0 for k in (2, 5, 7)}
    for k, mask in given.items():
        mask[8 * k : 8 * k + 8, 10:50] = True
    together = followed(tracker, tracker.start((64, 64)), given)
    assert looks.frames == 4
    one_by_one(monkeypatch)
    for a, b in zip(together, followed(tracker, tracker.start((64, 64)), given), strict=True):
        assert a.ids == b.ids == (2, 5, 7)
        close(a.probabilities, b.probabilities)
        assert a.scores == pytest.approx(b.scores, abs=1e-6)


@pytest.mark.parametrize("use_memory", [True, False])
def test_expressions_of_a_video_share_one_look_at_each_frame(
    tracked: System, use_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, tracker = Looks(tracked), RVOSTracker(tracked, threshold=None, use_memory=use_memory)
    together = followed(tracker, tracker.start((64, 64), TEXTS))
    assert (looks.frames, looks.texts) == (4, 3)
    one_by_one(monkeypatch)
    for a, b in zip(together, followed(tracker, tracker.start((64, 64), TEXTS)), strict=True):
        close(a.probabilities, b.probabilities)


def test_expressions_of_an_image_share_its_look(tmp_path: Path) -> None:
    source = open_task_source("refcoco", write_refcoco(tmp_path / "data"))
    sample = samples_of(source.items())[0]
    spec = systems()["uniref"]
    system = make_system(spec.config(name=spec.name, **spec.small), 0).eval()
    looks, reader = Looks(system), FrameReader(source, FitTransform(48, 99), 32, "cpu")
    with evaluating(system):
        rows = RISPredictor(source, reader, system, tmp_path / "out", by_nearest=True).predict(sample)
    assert (looks.frames, looks.texts, len(rows)) == (1, 2, 2)


@pytest.mark.parametrize("name", ["referformer", "sgmg"])
def test_expressions_of_a_video_share_the_look_at_each_window(tmp_path: Path, name: str) -> None:
    source = open_task_source("ref_youtube_vos", write_ref_davis(tmp_path / "data", {"v": PAIR}))
    (sample,) = samples_of(source.items())
    spec = systems()[name]
    system = make_system(spec.config(name=spec.name, **spec.small), 0).eval()
    looks, reader = Looks(system), FrameReader(source, FitTransform(64, 99), 32, "cpu")
    with evaluating(system):
        WindowPredictor(reader, system, "ref_youtube_vos", tmp_path / "out", 3).predict(sample)
    assert (looks.frames, looks.texts) == (len(FRAMES), len({normalise(item.text) for item in sample.items}))


def test_the_timings_run(capsys: pytest.CaptureFixture[str]) -> None:
    timings.main(["runs=1", "frames=1", "height=64", "width=64", "threads=1"])
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:]]
    assert names == ["cma", "referformer", "sgmg", "uniref"]


def test_references_of_one_clip_are_repeated_without_a_copy_of_its_frames() -> None:
    clip = collate_clips(clips_of_one_video()[:1])
    three = clip.repeat(3)
    assert three.copies == 3 and len(three) == 3 and three.expressions == clip.expressions * 3
    assert three.frames.data_ptr() == clip.frames.data_ptr() and three.frames.stride(0) == 0
    (levels,) = three.for_each_clip([torch.arange(4.0)[:, None]])
    assert levels[:, 0].tolist() == [0, 1, 2, 3] * 3
    assert np.prod(three.repeat(2).frames.shape[:2]) == 24 and three.repeat(2).copies == 6
