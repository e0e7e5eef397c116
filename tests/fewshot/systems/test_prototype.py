"""The prototype system: masked pooling and a cosine, checked on features that are the colours themselves."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from episodes.batch import ClipBatch
from fewshot.nn.prototype import mask_weights, prototype_logits, prototypes
from fewshot.systems.prototype.config import PrototypeConfig
from fewshot.systems.prototype.model import Prototype
from fewshot.systems.registry import build_system
from tests.fewshot.tiny import predicted


class Colours(nn.Module):
    """A backbone whose features are the image itself, averaged over its strides."""

    channels = (3, 3, 3, 3)
    patches = True

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.gain * F.avg_pool2d(x, stride, ceil_mode=True) for stride in (4, 8, 16, 32)]


def painted(colours: list[tuple[float, float, float]], frames: int = 2, size: int = 64, pad: int = 0) -> ClipBatch:
    """Clips of blue frames with a 32-pixel square of a colour, which is the object; `pad` pixels of padding."""
    side = size + pad
    images = torch.zeros(len(colours), frames, 3, side, side)
    images[:, :, 2, :size, :size] = 1
    masks = torch.zeros(frames, size, size, dtype=torch.bool)
    masks[:, 16:48, 16:48] = True
    for n, colour in enumerate(colours):
        images[n, :, :, 16:48, 16:48] = torch.tensor(colour)[:, None, None]
    padding = torch.ones(len(colours), side, side, dtype=torch.bool)
    padding[:, :size, :size] = False
    return ClipBatch(
        frames=images,
        padding=padding,
        sizes=torch.tensor([[size, size]] * len(colours)),
        expressions=(None,) * len(colours),
        masks=(masks,) * len(colours),
        boxes=torch.full((len(colours), frames, 4), 0.5),
        valid=torch.ones(len(colours), frames, dtype=torch.bool),
    )


RED, GREEN = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)


def segmented(system: Prototype, supports: ClipBatch, queries: ClipBatch, shots: int = 1) -> Tensor:
    prediction = predicted(system, queries, supports, shots)
    return torch.stack([system.probabilities(prediction, queries, n) > 0.5 for n in range(len(queries))])


def test_finds_the_colour_of_the_support_and_nothing_of_another() -> None:
    system = Prototype(Colours(), levels=(0,)).eval()
    queries = painted([RED, GREEN])
    found = segmented(system, painted([RED, RED]), queries)
    assert found[0, :, 18:46, 18:46].all(), "the red thing but for its corners, which the resizing rounds"
    assert not (found[0] & ~queries.masks[0]).any()
    assert not found[1, :, 20:44, 20:44].any(), "a green thing is no red thing"


class Points(Colours):
    """Cells look at every fourth, eighth, .. pixel, from the first one on, as convolutions with a stride do."""

    patches = False

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.gain * x[..., ::stride, ::stride] for stride in (4, 8, 16, 32)]


@pytest.mark.parametrize("backbone", [Colours, Points])
@pytest.mark.parametrize("levels", [(0,), (1,), (0, 1, 2)])
def test_things_are_found_where_they_are(backbone: type[Colours], levels: tuple[int, ...]) -> None:
    system, clips = Prototype(backbone(), levels=levels).eval(), painted([RED])
    prediction = predicted(system, clips, clips, 1)
    logits = system.logits(prediction, clips, 0)[0]
    middle = (logits.sigmoid() - 0.5).clamp(min=0)
    places = torch.arange(64.0)
    for weights in (middle.sum(0), middle.sum(1)):  # columns, rows
        # points from 16 to 47: a point on the first pixel of the thing is seen, the one behind it is not
        wanted = 31.5 if backbone is Colours else 32 - 2 ** (1 + levels[0])
        assert abs(float((weights * places).sum() / weights.sum()) - wanted) < 1.5


def test_shots_are_averaged() -> None:
    red, green = (prototypes_of(painted([c])) for c in (RED, GREEN))
    state = Prototype(Colours(), levels=(1,)).encode_supports(painted([RED, GREEN]), 2)
    torch.testing.assert_close(state.pairs[0][0], (red + green) / 2)


def prototypes_of(clips: ClipBatch) -> Tensor:
    return Prototype(Colours(), levels=(1,)).encode_supports(clips, 1).pairs[0][0]


def test_padding_is_neither_object_nor_background() -> None:
    torch.testing.assert_close(prototypes_of(painted([RED], pad=32)), prototypes_of(painted([RED])))


def test_masks_at_another_resolution_than_the_frames() -> None:
    clips = painted([RED])
    large = replace(clips, masks=tuple(m.repeat_interleave(3, 1).repeat_interleave(3, 2) for m in clips.masks))
    torch.testing.assert_close(prototypes_of(large), prototypes_of(clips))


def test_pooling_by_hand() -> None:
    features = torch.tensor([[[[[1.0, 2.0], [3.0, 6.0]]]]])  # one clip, one frame, one channel, 2 x 2
    weights = torch.tensor([[[[[1.0, 0.0], [0.0, 0.5]]], [[[0.0, 1.0], [1.0, 0.5]]]]])
    assert prototypes(features, weights).flatten().tolist() == pytest.approx([(1 + 3) / 1.5, (2 + 3 + 3) / 2.5])


def test_an_empty_mask_gives_a_prototype_that_is_like_nothing() -> None:
    clips = painted([RED])
    empty = replace(clips, masks=(torch.zeros_like(clips.masks[0]),))
    pair = prototypes_of(empty)
    assert pair[0].abs().max() == 0
    logits = prototype_logits(torch.randn(1, 2, 3, 4, 4), torch.stack([pair[0], pair[0]])[None])
    assert logits.abs().max() == 0


def test_support_without_masks_and_levels_that_do_not_exist() -> None:
    clips = replace(painted([RED]), masks=(None,))
    with pytest.raises(ValueError, match="no masks"):
        mask_weights(clips, (4, 4))
    with pytest.raises(ValueError, match="0, 1, 2, 3"):
        Prototype(Colours(), levels=(4,))


def test_loss_falls_with_the_right_masks_and_the_warm_up_is_the_same_loss() -> None:
    system = Prototype(Colours())
    supports, queries = painted([RED, RED]), painted([RED, RED])
    losses = system.losses(predicted(system, queries, supports), queries)
    wrong = replace(queries, masks=tuple(~m for m in queries.masks))
    assert losses.total < system.losses(predicted(system, queries, supports), wrong).total
    assert torch.equal(system.warmup_losses(supports, queries, 1).total, losses.total)
    losses.total.backward()
    assert system.backbone.gain.grad is not None


@pytest.mark.parametrize("frozen", [True, False])
def test_the_backbone_is_frozen_where_the_configuration_says_so(frozen: bool) -> None:
    system = build_system(PrototypeConfig(backbone="tiny", backbone_width=8, freeze_backbone=frozen))
    assert {parameter.requires_grad for parameter in system.parameters()} == {not frozen}
