"""Parts that several systems are built from: backbones and text encoders by their settings."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from transformers import BertModel, RobertaModel

from fewshot.nn.backbones import Backbone, MobileNetV2, ResNet, TinyBackbone
from fewshot.nn.swin import SIZES as SWIN_SIZES
from fewshot.nn.swin import Swin, SwinSize
from fewshot.nn.text import (
    TextEncoder,
    WordHashTokenizer,
    bert,
    bert_from_folder,
    roberta,
    roberta_from_folder,
    small_text_encoder,
)
from fewshot.nn.video_swin import NAMES as VIDEO_NAMES
from fewshot.nn.video_swin import SIZES as VIDEO_SIZES
from fewshot.nn.video_swin import VideoSwin, sum_over_time
from fewshot.systems.config import BackboneConfig, TextConfig
from fewshot.weights.files import official_tensors, read_pickle
from fewshot.weights.imagenet import IMAGENET, imagenet_file
from fewshot.weights.key_table import KeyTable
from fewshot.weights.load import check_finite

PATCHES = "patch_embed.proj.weight"
OUTER = r"^(module\.)?(backbone\.(0\.body\.)?)?"  # what the body is called in files of recognition and of detection
TEXT_FILES = {
    "roberta": ("roberta-base", "tokenizer.json, or vocab.json and merges.txt"),
    "bert": ("bert-base-uncased", "tokenizer.json, or vocab.txt"),
}


def build_backbone(config: BackboneConfig) -> Backbone:
    """The image backbone, with its weights where a file is named."""
    checkpointing = config.activation_checkpointing
    builders: dict[str, Callable[[], Backbone]] = {
        "resnet50": lambda: ResNet(50, checkpointing),
        "resnet101": lambda: ResNet(101, checkpointing),
        **{f"swin_{name}": partial(build_swin, config, size) for name, size in SWIN_SIZES.items()},
        **{f"video_swin_{size}": partial(VideoSwin, size, checkpointing=checkpointing) for size in VIDEO_SIZES},
        "mobilenet_v2": lambda: MobileNetV2(checkpointing),
        "tiny": lambda: TinyBackbone(config.backbone_width, checkpointing),
    }
    if config.backbone not in builders:
        raise ValueError(f"unknown backbone {config.backbone!r}: choose one of {', '.join(builders)}")
    backbone = builders[config.backbone]()
    if config.backbone_weights is not None:
        given = config.backbone_weights
        load_backbone_weights(backbone, imagenet_file(config.backbone) if given == IMAGENET else given)
    return backbone


def build_swin(config: BackboneConfig, size: SwinSize) -> Swin:
    """A Swin transformer of images with the window of the settings."""
    if config.backbone_window is not None:
        size = replace(size, window=config.backbone_window)
    return Swin(size, checkpointing=config.activation_checkpointing)


def load_backbone_weights(backbone: Backbone, path: str | Path) -> None:
    """Weights of torchvision's classifier of the same name into a backbone; its classifier is left out.

    Half-precision files are read as float32. Every tensor of the backbone must be in the file. Of Video-Swin the
    authors' own files (Liu et al., CVPR 2022) are read, too, and patches of pairs of frames are summed over time.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is damaged, holds no state dict, or values that are no numbers.
        ValueError: its tensors do not fit the backbone; they are named.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no backbone weights at {path}")
    content = official_tensors(read_pickle(path), path)
    wanted = backbone.body.state_dict()
    if isinstance(backbone, VideoSwin):
        found = video_swin_tensors(content)
    else:
        found = {k if k in wanted else k.removeprefix("features."): x.float() for k, x in content.items()}
    missing = sorted(name for name in wanted if name not in found or found[name].shape != wanted[name].shape)
    if missing:
        raise ValueError(
            f"{path} does not fit the backbone {type(backbone).__name__}: {len(missing)} of {len(wanted)} tensors are "
            f"missing or of another shape, first {', '.join(missing[:3])}"
        )
    used = {name: found[name] for name in wanted}
    check_finite(used, str(path))
    backbone.body.load_state_dict(used)


def video_swin_tensors(content: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a file of Video-Swin, torchvision's or the authors' one, under the names of the body, in float32."""
    table, found = KeyTable(VIDEO_NAMES), {}
    for key, value in content.items():
        name = re.sub(OUTER, "", key)
        found[table.to_own(name) or name] = value.float()
    if PATCHES in found and found[PATCHES].ndim == 5:
        found[PATCHES] = sum_over_time(found[PATCHES])
    return found


def build_text_encoder(config: TextConfig) -> TextEncoder | None:
    """The text encoder with its tokenizer; None for `none`.

    Raises:
        FileNotFoundError: a folder without the files that are needed, or none.
        CheckpointError: weights that are no numbers.
    """
    if config.text == "none":
        return None
    if config.text == "small":
        return small_text_encoder(config.text_dim, config.text_layers, config.dropout)
    readers = {"roberta": roberta_from_folder, "bert": bert_from_folder}
    if config.text not in readers:
        raise ValueError(f"unknown text encoder {config.text!r}: choose one of {', '.join(readers)}, small, none")
    if config.text_weights is None:
        model, files = TEXT_FILES[config.text]
        raise FileNotFoundError(
            f"system.text={config.text} needs the files of {model} ({files}; config.json and model.safetensors to "
            "start from its weights): put them in a folder and name it with system.text_weights=FOLDER, or use "
            "system.text=small, which needs no files"
        )
    text = readers[config.text](config.text_weights)
    check_finite(text.state_dict(), config.text_weights)
    return text


def text_encoder_without_files(config: TextConfig) -> TextEncoder | None:
    """A text encoder whose weights are not set yet, with a stand-in for its tokenizer, which is no part of them."""
    if config.text == "none":
        return None
    builders: dict[str, Callable[[], RobertaModel | BertModel]] = {"roberta": roberta, "bert": bert}
    with torch.device("meta"):
        return TextEncoder(builders[config.text](), WordHashTokenizer()).to_empty(device="cpu")
