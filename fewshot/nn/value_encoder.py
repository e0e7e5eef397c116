"""Value encoders: what a masked reference image has to give at each place.

As in space-time memory networks: Cheng et al., STCN, NeurIPS 2021, section 3.3, on the fuser of Cheng et al., MiVOS,
CVPR 2021; the attention in it is CBAM (Woo et al., ECCV 2018, section 3).

Legend: n images, C width; levels are (h, w) maps at strides 8, 16, 32 and 64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet18

from fewshot.nn.norms import group_norm

STAGE_CHANNELS = (128, 256, 512)  # of ResNet-18 at strides 8, 16 and 32


class MaskedResNet18(nn.Module):
    """ResNet-18 of torchvision that also sees a mask, as a fourth channel; its convolutions have biases.

    Batch normalisation learns, and in training it uses the statistics of the batch.

    Args:
        stages: 2 or 3 outputs, at strides 8, 16 and 32.
    """

    def __init__(self, stages: int = 3) -> None:
        super().__init__()
        body = resnet18(weights=None)
        self.conv1, self.bn1 = nn.Conv2d(4, 64, 7, stride=2, padding=3), body.bn1
        self.names = [f"layer{i}" for i in range(1, stages + 2)]
        for name in self.names:
            self.add_module(name, getattr(body, name))
        with torch.no_grad():
            self.conv1.weight[:, :3] = body.conv1.weight
            self.conv1.weight[:, 3:] = nn.init.orthogonal_(torch.empty(64, 1, 7, 7))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                module.bias = nn.Parameter(torch.zeros(module.out_channels))

    def start_from_image_weights(self, state: Mapping[str, Tensor]) -> None:
        """Take over torchvision's ResNet-18: convolutions and norms; the mask channel and the biases stay.

        Raises:
            ValueError: a tensor is missing or has another shape.
        """
        own = self.state_dict()
        biases = {f"{name}.bias" for name, module in self.named_modules() if isinstance(module, nn.Conv2d)}
        for name in own:
            if name in biases or name.endswith("num_batches_tracked"):
                continue
            want = (64, 3, 7, 7) if name == "conv1.weight" else tuple(own[name].shape)
            found = tuple(state[name].shape) if name in state else None
            if found != want:
                raise ValueError(f"not the weights of torchvision's ResNet-18: {name} is {found}, expected {want}")
            own[name] = torch.cat([state[name], own[name][:, 3:]], 1) if name == "conv1.weight" else state[name]
        self.load_state_dict(own)

    def forward(self, images: Tensor, masks: Tensor) -> list[Tensor]:
        """Features `(n, C_i, h_i, w_i)` at strides 8 and beyond, of `(n, 3, H, W)` and masks `(n, H, W)` in 0..1."""
        x = torch.cat([images, masks[:, None].to(images.dtype)], 1)
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        features = []
        for name in self.names:
            x = self.get_submodule(name)(x)
            features.append(x)
        return features[1:]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions behind their ReLU; the shortcut is a convolution where the width changes."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.shortcut = None if inputs == outputs else nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """`(n, inputs, h, w) -> (n, outputs, h, w)`."""
        kept = x if self.shortcut is None else self.shortcut(x)
        return kept + self.conv2(F.relu(self.conv1(F.relu(x))))


class CBAM(nn.Module):
    """Gates on the channels and then on the places, each from pooled features (CBAM, equations 1 to 3)."""

    def __init__(self, dim: int, reduction: int = 16) -> None:
        super().__init__()
        self.squeeze, self.expand = nn.Linear(dim, dim // reduction), nn.Linear(dim // reduction, dim)
        self.place = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        """`(n, C, h, w)` to the same."""
        pooled = (x.mean((2, 3)), x.amax((2, 3)))
        x = x * sum(self.expand(F.relu(self.squeeze(p))) for p in pooled).sigmoid()[..., None, None]
        return x * self.place(torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)).sigmoid()


class Fuser(nn.Module):
    """A feature of the masked image and one of the plain image, to one value."""

    def __init__(self, inputs: int, dim: int) -> None:
        super().__init__()
        self.block1, self.attention, self.block2 = ResidualBlock(inputs, dim), CBAM(dim), ResidualBlock(dim, dim)

    def forward(self, masked: Tensor, plain: Tensor) -> Tensor:
        """`(n, C_masked, h, w), (n, C_plain, h, w) -> (n, C, h, w)`."""
        x = self.block1(torch.cat([masked, plain], 1))
        return self.block2(x + self.attention(x))


class ValueEncoder(nn.Module):
    """Values at four levels (UniRef++, section 3.2)."""

    def __init__(self, dim: int = 256) -> None:
        super().__init__()
        self.body = MaskedResNet18()
        self.last = nn.Sequential(nn.Conv2d(STAGE_CHANNELS[-1], dim, 3, stride=2, padding=1), group_norm(dim, 32))
        self.fusers = nn.ModuleList(Fuser(channels + dim, dim) for channels in (*STAGE_CHANNELS, dim))

    def forward(self, images: Tensor, masks: Tensor, levels: Sequence[Tensor]) -> list[Tensor]:
        """Values `(n, C, h, w)` at the sizes of `levels`.

        Args:
            images: `(n, 3, H, W)` normalised; masks: `(n, H, W)` in 0..1.
            levels: four features `(n, C, h, w)` of the same images at strides 8 to 64, before any fusion.
        """
        features = self.body(images, masks)
        features.append(self.last(features[-1]))
        return [fuser(x, level) for fuser, x, level in zip(self.fusers, features, levels, strict=True)]


class Stride16ValueEncoder(nn.Module):
    """Values at the one level of SAM, stride 16: two stages of the network and one fuser."""

    def __init__(self, dim: int = 256) -> None:
        super().__init__()
        self.body, self.fuser = MaskedResNet18(2), Fuser(STAGE_CHANNELS[1] + dim, dim)

    def forward(self, images: Tensor, masks: Tensor, level: Tensor) -> Tensor:
        """`(n, 3, H, W), (n, H, W), (n, C, H / 16, W / 16) -> (n, C, H / 16, W / 16)`; ranges as in `ValueEncoder`."""
        return self.fuser(self.body(images, masks)[-1], level)


class TinyValueEncoder(nn.Module):
    """Values for training from scratch on a CPU: a quarter of the channels say where the object is.

    These channels carry the fraction of the object in each cell as a number in -`strength`..`strength`, in alternating
    signs (a layer norm that takes off the mean keeps them), so that what is read from a support tells object from
    background before anything has been learned. The others carry the feature of the object's cells through a grouped
    1x1 convolution. The same weights serve all levels; the image itself is not looked at again.

    Args:
        dim: width C, a multiple of 8.
    """

    STRENGTH, GROUPS = 2.0, 4

    def __init__(self, dim: int = 64) -> None:
        super().__init__()
        if dim % 8 or dim < 16:
            raise ValueError(f"the width of the tiny value encoder must be a multiple of 8 from 16 on, got {dim}")
        told = dim // 4
        signs = 1.0 - 2.0 * (torch.arange(told) % 2)
        self.strength = nn.Parameter(self.STRENGTH * signs)
        groups = self.GROUPS if dim % (4 * self.GROUPS) == 0 else 1
        self.feature = nn.Conv2d(dim, dim - told, 1, groups=groups)

    def forward(self, images: Tensor, masks: Tensor, levels: Sequence[Tensor]) -> list[Tensor]:
        """As `ValueEncoder`, for any number of levels; `images` are not used."""
        return [self._value(masks, level) for level in levels]

    def _value(self, masks: Tensor, level: Tensor) -> Tensor:
        size = (level.shape[-2], level.shape[-1])
        fraction = F.adaptive_avg_pool2d(masks[:, None].to(level.dtype), size)
        told = (2 * fraction - 1) * self.strength[:, None, None]
        return torch.cat([told, self.feature(fraction * level)], 1)
