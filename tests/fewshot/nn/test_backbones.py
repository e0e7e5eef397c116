"""Backbones: taps, frozen parts, weights of torchvision."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torchvision.models import mobilenet_v2, resnet50

from fewshot.nn import video_swin
from fewshot.nn.backbones import FOLD_FROM, Backbone, MobileNetV2, ResNet, TinyBackbone
from fewshot.nn.video_swin import SIZES as VIDEO_SIZES
from fewshot.nn.video_swin import VideoSwin, WindowAttention
from fewshot.systems.config import BackboneConfig
from fewshot.systems.parts import build_backbone, load_backbone_weights
from fewshot.weights.checkpoint import CheckpointError
from tests.shared import require_shared


@pytest.mark.parametrize("build", [lambda: ResNet(50), MobileNetV2, TinyBackbone], ids=["resnet50", "mobile", "tiny"])
def test_taps(build: Callable[[], Backbone]) -> None:
    backbone = build().eval()
    with torch.no_grad():
        taps = backbone(torch.randn(2, 3, 70, 96))
    sizes = [(18, 24), (9, 12), (5, 6), (3, 3)]  # ceil of 70 and 96 over 4, 8, 16 and 32
    assert [tuple(t.shape) for t in taps] == [(2, c, *size) for c, size in zip(backbone.channels, sizes, strict=True)]


def test_resnet_is_torchvisions() -> None:
    """The stride-32 tap, pooled and classified, is what torchvision computes with the same weights."""
    torch.manual_seed(0)
    reference = resnet50(weights=None).eval()
    backbone = ResNet(50).eval()
    state = {k: v for k, v in reference.state_dict().items() if not k.startswith("fc.") and "num_batches" not in k}
    backbone.body.load_state_dict(state)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        logits = reference.fc(backbone(x)[-1].mean((2, 3)))
        torch.testing.assert_close(logits, reference(x), rtol=1e-4, atol=1e-4)


def test_frozen_stages_of_a_resnet_without_their_normalisation_give_the_same_numbers() -> None:
    torch.manual_seed(0)
    backbone = ResNet(50).eval()
    for name, buffer in backbone.named_buffers():
        buffer.uniform_(0.5, 2.0) if name.endswith("running_var") else buffer.normal_(std=0.5)
    images = torch.randn(FOLD_FROM, 3, 64, 64)
    with torch.no_grad():
        wanted = backbone(images)
        found = backbone.freeze()(images)
    for one, other in zip(found, wanted, strict=True):
        assert 0 < (one - other).abs().max() <= 3e-6 * other.abs().max()


def test_batch_statistics_are_never_used() -> None:
    backbone = MobileNetV2().train()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbone(x)[-1][:1], backbone(x[:1])[-1], rtol=1e-4, atol=1e-5)


def test_tiny_has_a_third_of_a_million_weights() -> None:
    count = sum(p.numel() for p in TinyBackbone(32).parameters())
    assert 250_000 < count < 330_000


def test_weights_of_torchvision_in_half_precision(tmp_path: Path) -> None:
    reference = mobilenet_v2(weights=None).eval()
    file = tmp_path / "weights.pth"
    torch.save({k: v.half() if v.is_floating_point() else v for k, v in reference.state_dict().items()}, file)
    backbone = build_backbone(BackboneConfig(backbone="mobilenet_v2", backbone_weights=str(file)))
    first = backbone.state_dict()["body.0.0.weight"]
    assert first.dtype == torch.float32
    torch.testing.assert_close(first, reference.features[0][0].weight.half().float())


def test_the_stored_mobilenet_loads() -> None:
    folder = require_shared("data", "mobilenet_v2-imagenet")
    load_backbone_weights(MobileNetV2(), next(folder.glob("*.pth")))


def test_weights_of_another_backbone_are_refused(tmp_path: Path) -> None:
    torch.save(TinyBackbone(8).body.state_dict(), tmp_path / "tiny.pth")
    with pytest.raises(ValueError, match="missing or of another shape, first 0.0.weight"):
        load_backbone_weights(MobileNetV2(), tmp_path / "tiny.pth")
    with pytest.raises(FileNotFoundError, match="nowhere.pth"):
        load_backbone_weights(MobileNetV2(), tmp_path / "nowhere.pth")


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="50, 101"):
        ResNet(18)
    with pytest.raises(ValueError, match="width"):
        TinyBackbone(4)


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    torch.save(TinyBackbone(8).body.state_dict(), file)
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(CheckpointError, match="half-written"):
        load_backbone_weights(TinyBackbone(8), file)
    torch.save([1, 2], file)
    with pytest.raises(CheckpointError, match="state dict"):
        load_backbone_weights(TinyBackbone(8), file)


def test_video_swin_looks_at_all_frames_of_a_clip() -> None:
    torch.manual_seed(0)
    backbone = VideoSwin("tiny").eval()
    clips = torch.randn(2, 3, 3, 34, 50)
    with torch.no_grad():
        together, alone = backbone.encode_clips(clips), backbone(clips.flatten(0, 1))
        one = backbone.encode_clips(clips[1:])
    sizes = [(9, 13), (5, 7), (3, 4), (2, 2)]
    assert [tuple(t.shape) for t in together] == [(6, c, *s) for c, s in zip(backbone.channels, sizes, strict=True)]
    for tap, frame, clip in zip(together, alone, one, strict=True):
        torch.testing.assert_close(tap[3:], clip)  # clips do not see each other,
        assert (tap - frame).abs().max() > 1e-3  # and frames of a clip do
    assert not any("relative_position_index" in key for key in backbone.state_dict())


def test_patches_of_two_frames_are_summed_over_time(tmp_path: Path) -> None:
    kernel = torch.randn(96, 3, 2, 4, 4)
    backbone = VideoSwin("tiny")
    state = {**backbone.body.state_dict(), "patch_embed.proj.weight": kernel, "head.weight": torch.zeros(400, 768)}
    torch.save(state, tmp_path / "kinetics.pth")
    load_backbone_weights(backbone, tmp_path / "kinetics.pth")
    found = backbone.body.state_dict()["patch_embed.proj.weight"]
    torch.testing.assert_close(found, kernel[:, :, :1] + kernel[:, :, 1:])


@pytest.mark.parametrize("size", [(3, 40, 72), (10, 32, 100)])
def test_windows_of_video_swin_attend_the_same_without_gradients(
    size: tuple[int, int, int], nano: VideoSwin, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = torch.randn(2, size[0], 3, *size[1:])
    for module in nano.eval().modules():
        if isinstance(module, WindowAttention):  # which starts at almost nothing
            torch.nn.init.normal_(module.relative_position_bias_table)
    wanted = nano.encode_clips(clips)
    with torch.no_grad():
        for places in (video_swin.PLACES_AT_ONCE, 1000):  # all windows at once, and a few after the other
            monkeypatch.setattr(video_swin, "PLACES_AT_ONCE", places)
            for one, other in zip(nano.encode_clips(clips), wanted, strict=True):
                assert (one - other).abs().max() <= 2e-6 * other.abs().max()


@pytest.fixture
def nano(monkeypatch: pytest.MonkeyPatch) -> VideoSwin:
    """A Video-Swin of four small stages, one with two blocks."""
    monkeypatch.setitem(VIDEO_SIZES, "nano", (12, (1, 1, 2, 1), 1))
    return VideoSwin("nano")


@pytest.mark.parametrize(
    ("prefix", "merging"),
    [("backbone.", "layers.{}.downsample."), ("", "layers.{}.downsample."), ("backbone.0.body.", "downsamples.{}.")],
)
def test_video_swin_in_the_names_of_its_authors(prefix: str, merging: str, nano: VideoSwin, tmp_path: Path) -> None:
    wanted = {name: torch.randn(x.shape) for name, x in nano.body.state_dict().items()}
    pairs = {}
    for name, value in wanted.items():
        key = re.sub(r"^features\.([0246])\.", lambda m: f"layers.{int(m[1]) // 2}.blocks.", name)
        key = re.sub(r"^features\.([135])\.", lambda m: merging.format(int(m[1]) // 2), key)
        key = key.replace("mlp.0.", "mlp.fc1.").replace("mlp.3.", "mlp.fc2.")
        pairs[prefix + key] = value
    kernel = pairs.pop(f"{prefix}patch_embed.proj.weight")
    pairs[f"{prefix}patch_embed.proj.weight"] = torch.cat([0.25 * kernel, 0.75 * kernel], 2)
    pairs[f"{prefix}layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(392, 392).long()
    rest = {f"{prefix}norm.weight": torch.ones(96), "cls_head.fc_cls.weight": torch.ones(400, 96)}
    torch.save({"meta": {"epoch": 30}, "state_dict": {**pairs, **rest}}, tmp_path / "kinetics.pth")
    load_backbone_weights(nano, tmp_path / "kinetics.pth")
    found = nano.body.state_dict()
    assert found.keys() == wanted.keys() and len(pairs) > 60
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value)


def test_an_unknown_size_of_video_swin_is_refused() -> None:
    with pytest.raises(ValueError, match="choose one of tiny, small, base"):
        VideoSwin("large")
