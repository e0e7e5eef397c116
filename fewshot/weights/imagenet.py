"""ImageNet weights of backbones as torchvision publishes them: from its cache, or fetched when they are asked for."""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import urlsplit

import torch
from torchvision.models import MobileNet_V2_Weights, ResNet50_Weights, ResNet101_Weights

IMAGENET = "imagenet"  # in the place of a file name
# The first weights of each, with which the papers start.
PUBLISHED = {
    "mobilenet_v2": MobileNet_V2_Weights.IMAGENET1K_V1,
    "resnet50": ResNet50_Weights.IMAGENET1K_V1,
    "resnet101": ResNet101_Weights.IMAGENET1K_V1,
}


def imagenet_file(backbone: str) -> Path:
    """The file of a backbone's weights, in torch's cache of downloads; it is fetched where it is not there yet.

    Raises:
        ValueError: torchvision has none for this backbone.
        OSError: they cannot be fetched; says from where, and what to do without a network.
    """
    if backbone not in PUBLISHED:
        raise ValueError(
            f"system.backbone_weights={IMAGENET}: there are such weights of {', '.join(PUBLISHED)}, not of {backbone}; "
            "give a file"
        )
    url = PUBLISHED[backbone].url
    name = Path(urlsplit(url).path).name
    file = Path(torch.hub.get_dir()) / "checkpoints" / name
    if file.is_file():
        return file
    checksum = file.stem.rpartition("-")[2]  # torchvision ends the names of its files with it
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(file), checksum, progress=sys.stderr.isatty())
    except (OSError, RuntimeError) as error:  # no network, a full disk, a wrong checksum
        raise OSError(
            f"system.backbone_weights={IMAGENET}: {url} cannot be fetched ({error}); fetch it where there is a "
            f"network, and give its path, system.backbone_weights=<folder>/{name}"
        ) from error
    return file
