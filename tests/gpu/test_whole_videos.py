"""Ways through whole videos on a GPU: every frame is answered, on the CPU, as it is answered there."""

from __future__ import annotations

import pytest
import torch

from episodes.batch import ClipBatch
from fewshot.systems.registry import make_system, systems
from fewshot.systems.video_tasks import Settled, VideoQuestion, Vocabulary
from tests.gpu.tiny import DEVICES

SIZE, FRAMES = (40, 50), 5
KINDS = [("univs", kind) for kind in ("vis", "vps", "vss", "vos", "pvos", "rvos")]
KINDS += [("videomt", kind) for kind in ("vis", "vps", "vss")]


def answers(name: str, kind: str, device: str) -> list[Settled]:
    """What is settled in a video of noise with two given squares."""
    spec = systems()[name]
    system = make_system(spec.config(name=name, **spec.small), 0).eval().to(device)
    assert spec.video_task is not None
    task, vocabulary = spec.video_task(system, kind, 3), Vocabulary(("dax", "toma", "ground"), frozenset({2}))
    state = task.start(VideoQuestion(SIZE, vocabulary, (1, 2), ("a dax", "a toma")))
    noise, found = torch.randn(FRAMES, 3, 64, 64, generator=torch.Generator().manual_seed(0)), []
    masks = torch.zeros(2, *SIZE, dtype=torch.bool, device=device)
    masks[0, 4:20, 4:20], masks[1, 20:36, 20:44] = True, True
    for t, frame in enumerate(noise):
        size = torch.tensor([[64, 64]])
        batch = ClipBatch(frame[None, None], torch.zeros(1, 64, 64, dtype=torch.bool), size, (None,), (None,))
        given = dict(enumerate(masks, start=1)) if t == 0 and kind in ("vos", "pvos") else {}
        state, settled = task.step(state, batch.to(device), given)
        found.append(settled)
    return [*found, task.end(state)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_videos_are_answered_as_on_the_cpu(name: str, kind: str, device: str) -> None:
    if name == "videomt":
        pytest.importorskip("transformers.models.videomt", reason="the installed transformers has no VidEoMT")
    with torch.no_grad():
        found, wanted = (answers(name, kind, where) for where in (device, "cpu"))
    assert [settled.frames for settled in found] == [settled.frames for settled in wanted]
    for own, other in zip(found, wanted, strict=True):
        for a, b in ((own.masks, other.masks), (own.labels, other.labels)):
            assert (a is None) == (b is None)
            if a is not None and b is not None and a.shape == b.shape:
                assert a.device.type == "cpu" and float((a == b).float().mean() if a.numel() else 1.0) > 0.98
