"""Parts that several systems are built from: backbones and text encoders by their settings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from transformers import BertModel, RobertaModel

from fewshot.nn.backbones import Backbone, MobileNetV2, ResNet, TinyBackbone
from fewshot.nn.swin import Swin
from fewshot.nn.text import (
    TextEncoder,
    WordHashTokenizer,
    bert,
    bert_from_folder,
    roberta,
    roberta_from_folder,
    small_text_encoder,
)
from fewshot.nn.video_swin import SIZES as VIDEO_SIZES
from fewshot.nn.video_swin import VideoSwin, sum_over_time
from fewshot.systems.config import BackboneConfig, TextConfig
from fewshot.weights.files import official_tensors, read_pickle
from fewshot.weights.imagenet import IMAGENET, imagenet_file
from fewshot.weights.load import check_finite

SWIN_SIZES = ("tiny", "small", "base", "large")
PATCHES = "patch_embed.proj.weight"
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
        **{f"swin_{size}": partial(Swin, size, checkpointing=checkpointing) for size in SWIN_SIZES},
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


def load_backbone_weights(backbone: Backbone, path: str | Path) -> None:
    """Weights of torchvision's classifier of the same name into a backbone; its classifier is left out.

    Half-precision files are read as float32. Every tensor of the backbone must be in the file. Patches of Video-Swin
    that were trained on pairs of frames are summed over time.

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
    found = {k if k in wanted else k.removeprefix("features."): x.float() for k, x in content.items()}
    if isinstance(backbone, VideoSwin) and PATCHES in found and found[PATCHES].ndim == wanted[PATCHES].ndim:
        found[PATCHES] = sum_over_time(found[PATCHES])
    missing = sorted(name for name in wanted if name not in found or found[name].shape != wanted[name].shape)
    if missing:
        raise ValueError(
            f"{path} does not fit the backbone {type(backbone).__name__}: {len(missing)} of {len(wanted)} tensors are "
            f"missing or of another shape, first {', '.join(missing[:3])}"
        )
    used = {name: found[name] for name in wanted}
    check_finite(used, str(path))
    backbone.body.load_state_dict(used)


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
