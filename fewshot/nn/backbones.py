"""Image backbones with four taps, at strides 4, 8, 16 and 32.

All map `(n, 3, H, W)` to a list of four `(n, channels[i], ceil(H / stride_i), ceil(W / stride_i))` features.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torchvision.models import mobilenet_v2, resnet50, resnet101
from torchvision.models.resnet import Bottleneck
from torchvision.ops import FrozenBatchNorm2d

from fewshot.nn.norms import group_norm
from fewshot.nn.recompute import run

FOLD_FROM = 3  # images: with fewer, multiplying the weights takes as long as the normalisation does


class Backbone(nn.Module):
    """A backbone with `channels` at strides 4, 8, 16 and 32.

    Args:
        channels: of the four taps.
        checkpointing: recompute each stage in the backward pass instead of storing it.

    Attributes:
        body: what holds the weights, under the names of their official files.
        patches: a cell of a tap stands for a whole patch of the image, and lies in its middle. False: it stands for the
            pixels around every `stride`-th one, from the first one on, as padded convolutions with a stride have it.
    """

    body: nn.Module
    patches: ClassVar[bool] = False

    def __init__(self, channels: tuple[int, int, int, int], checkpointing: bool = False) -> None:
        super().__init__()
        self.channels, self.checkpointing = channels, checkpointing

    @abstractmethod
    def stages(self) -> list[nn.Module]:
        """Four modules, each from one tap to the next; the first takes the image."""

    def freeze(self) -> Backbone:
        """No parameter learns any more."""
        for parameter in self.parameters():
            parameter.requires_grad_(False)
        return self

    def forward(self, x: Tensor) -> list[Tensor]:
        """`(n, 3, H, W)` to the four taps."""
        learns = any(p.requires_grad for p in self.parameters())
        taps = []
        for stage in self.stages():
            x = self.through(stage, x, self.checkpointing and learns)
            taps.append(x)
        return taps

    def through(self, stage: nn.Module, x: Tensor, checkpointing: bool) -> Tensor:
        """One of the `stages`, from tap to tap."""
        return run(stage, x, checkpointing=checkpointing)

    def encode_clips(self, clips: Tensor) -> list[Tensor]:
        """Clips `(N, T, 3, H, W)` to the four taps `(N * T, C_i, h_i, w_i)`, frame by frame in a backbone of images."""
        return self(clips.flatten(0, 1))


class ResNet(Backbone):
    """ResNet-50 or -101 of torchvision with batch normalisation frozen (running statistics and affine parts)."""

    body: torchvision.models.ResNet

    def __init__(self, depth: int = 50, checkpointing: bool = False) -> None:
        builders = {50: resnet50, 101: resnet101}
        if depth not in builders:
            raise ValueError(f"ResNet depth must be one of {sorted(builders)}, got {depth}")
        super().__init__((256, 512, 1024, 2048), checkpointing)
        self.body = builders[depth](weights=None, norm_layer=FrozenBatchNorm2d)
        del self.body.avgpool, self.body.fc

    def stages(self) -> list[nn.Module]:
        """The stem with `layer1`, then `layer2` to `layer4`."""
        body = self.body
        stem = nn.Sequential(body.conv1, body.bn1, body.relu, body.maxpool, body.layer1)
        return [stem, body.layer2, body.layer3, body.layer4]

    def through(self, stage: nn.Module, x: Tensor, checkpointing: bool) -> Tensor:
        """One of the `stages`; a frozen one without its normalisation, where that is faster."""
        learns = x.requires_grad or any(p.requires_grad for p in stage.parameters())
        if learns or len(x) < FOLD_FROM:
            return super().through(stage, x, checkpointing)
        return folded(stage, x)


def folded(module: nn.Module, x: Tensor) -> Tensor:
    """`module(x)` of stages of a ResNet: each frozen normalisation is multiplied into the convolution before it."""
    if isinstance(module, Bottleneck):
        shortcut = x if module.downsample is None else folded(module.downsample, x)
        x = F.relu_(_normed(module.conv1, module.bn1, x))
        x = F.relu_(_normed(module.conv2, module.bn2, x))
        return F.relu_(_normed(module.conv3, module.bn3, x) + shortcut)
    if not isinstance(module, nn.Sequential):
        return module(x)
    layers = iter(module)
    for layer in layers:
        x = _normed(layer, next(layers), x) if isinstance(layer, nn.Conv2d) else folded(layer, x)
    return x


def _normed(conv: nn.Module, norm: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(conv, nn.Conv2d) and isinstance(norm, FrozenBatchNorm2d)
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    weight, bias = conv.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale
    return F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)


class MobileNetV2(Backbone):
    """MobileNetV2 of torchvision with frozen batch normalisation, without its last 1x1 convolution."""

    body: nn.Sequential
    ENDS = (4, 7, 14, 18)  # one past the last block of strides 4, 8, 16 and 32

    def __init__(self, checkpointing: bool = False) -> None:
        super().__init__((24, 32, 96, 320), checkpointing)
        self.body = mobilenet_v2(weights=None, norm_layer=FrozenBatchNorm2d).features[: self.ENDS[-1]]

    def stages(self) -> list[nn.Module]:
        """The blocks in four runs."""
        return [self.body[a:b] for a, b in zip((0, *self.ENDS[:-1]), self.ENDS, strict=True)]


class TinyBackbone(Backbone):
    """Four small residual stages with group normalisation, 0.3 M weights at width 32, for images of 64 to 128 pixels.

    Group normalisation because batches are small and episodes differ: batch statistics would leak between them.
    """

    body: nn.ModuleList

    def __init__(self, width: int = 32, checkpointing: bool = False) -> None:
        if width < 8:
            raise ValueError(f"the tiny backbone needs a width of at least 8, got {width}")
        channels = (width, 2 * width, 2 * width, 3 * width)
        super().__init__(channels, checkpointing)
        stem = nn.Sequential(_conv(3, width, stride=2), group_norm(width, 8), nn.ReLU())
        inputs = (width, *channels[:-1])
        blocks = [ResidualStage(a, b) for a, b in zip(inputs, channels, strict=True)]
        self.body = nn.ModuleList([nn.Sequential(stem, blocks[0]), *blocks[1:]])

    def stages(self) -> list[nn.Module]:
        """Stem and first stage, then one stage each."""
        return list(self.body)


class ResidualStage(nn.Module):
    """Halve the resolution, then one residual 3x3 convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.down, self.down_norm = _conv(inputs, outputs, stride=2), group_norm(outputs, 8)
        self.conv, self.norm = _conv(outputs, outputs), group_norm(outputs, 8)

    def forward(self, x: Tensor) -> Tensor:
        """`(n, inputs, H, W) -> (n, outputs, ceil(H / 2), ceil(W / 2))`."""
        x = F.relu(self.down_norm(self.down(x)))
        return F.relu(x + self.norm(self.conv(x)))


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv
