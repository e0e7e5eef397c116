"""A system from its configuration. The only place that knows which numbers go where."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fewshot.config import SystemConfig
from fewshot.nn.backbones import Backbone, MobileNetV2, ResNet, TinyBackbone
from fewshot.nn.text import TextEncoder, roberta_from_folder, small_text_encoder
from fewshot.systems.base import System
from fewshot.systems.cma import CMA, Sizes
from fewshot.systems.prototype import Prototype
from fewshot.weights import official_tensors, read_pickle


def build_system(config: SystemConfig, recipe: str = "fixed") -> System:
    """The system that `config` names, with random weights except those of `backbone_weights` and `text_weights`.

    Args:
        recipe: `official` also brings back what the official training does inside the model (the dropout of a frozen
            text encoder).

    Raises:
        ValueError: for an unknown name, or sizes that do not fit together.
        FileNotFoundError: for missing weights or tokenizer files.
    """
    builders: dict[str, Callable[[SystemConfig, str], System]] = {"cma": _cma, "prototype": _prototype}
    if config.name not in builders:
        raise ValueError(f"unknown system {config.name!r}: choose one of {', '.join(sorted(builders))}")
    return builders[config.name](config, recipe)


def build_cma(config: SystemConfig, text: TextEncoder, recipe: str = "fixed") -> CMA:
    """A CMA of the configured sizes around a text encoder."""
    sizes = Sizes(
        hidden_dim=config.hidden_dim,
        heads=config.heads,
        encoder_layers=config.encoder_layers,
        decoder_layers=config.decoder_layers,
        feedforward_dim=config.feedforward_dim,
        num_queries=config.num_queries,
        points=config.points,
        dropout=config.dropout,
    )
    if sizes.hidden_dim % 4 or sizes.hidden_dim % sizes.heads:
        raise ValueError(f"hidden_dim {sizes.hidden_dim} must be a multiple of 4 and of heads ({sizes.heads})")
    return CMA(
        build_backbone(config),
        text,
        sizes,
        variant=config.variant,
        support_frames=config.support_frames,
        affinity_init=config.affinity_init,
        clean_anchors=config.clean_anchors,
        freeze_backbone=config.freeze_backbone,
        freeze_text=config.freeze_text,
        text_dropout=recipe == "official",
        # pretrained parts learn more slowly; parts that start from scratch do not
        backbone_lr=1.0 if config.backbone == "tiny" else 0.5,
        text_lr=1.0 if config.text == "small" else 0.1,
        checkpointing=config.activation_checkpointing,
    )


def _cma(config: SystemConfig, recipe: str) -> System:
    return build_cma(config, build_text_encoder(config), recipe)


def _prototype(config: SystemConfig, recipe: str) -> System:
    backbone = build_backbone(config)
    return Prototype(backbone.freeze() if config.freeze_backbone else backbone)


def build_backbone(config: SystemConfig) -> Backbone:
    """The image backbone, with its weights where a file is named."""
    checkpointing = config.activation_checkpointing
    builders: dict[str, Callable[[], Backbone]] = {
        "resnet50": lambda: ResNet(50, checkpointing),
        "resnet101": lambda: ResNet(101, checkpointing),
        "mobilenet_v2": lambda: MobileNetV2(checkpointing),
        "tiny": lambda: TinyBackbone(config.backbone_width, checkpointing),
    }
    if config.backbone not in builders:
        raise ValueError(f"unknown backbone {config.backbone!r}: choose one of {', '.join(builders)}")
    backbone = builders[config.backbone]()
    if config.backbone_weights is not None:
        load_backbone_weights(backbone, config.backbone_weights)
    return backbone


def load_backbone_weights(backbone: Backbone, path: str | Path) -> None:
    """Weights of torchvision's classifier of the same name into a backbone; its classifier is left out.

    Half-precision files are read as float32. Every tensor of the backbone must be in the file.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is damaged or holds no state dict.
        ValueError: its tensors do not fit the backbone; they are named.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no backbone weights at {path}")
    content = official_tensors(read_pickle(path), path)
    found = {name.removeprefix("features."): tensor.float() for name, tensor in content.items()}
    wanted = backbone.body.state_dict()
    missing = sorted(name for name in wanted if name not in found or found[name].shape != wanted[name].shape)
    if missing:
        raise ValueError(
            f"{path} does not fit the backbone {type(backbone).__name__}: {len(missing)} of {len(wanted)} tensors are "
            f"missing or of another shape, first {', '.join(missing[:3])}"
        )
    backbone.body.load_state_dict({name: found[name] for name in wanted})


def build_text_encoder(config: SystemConfig) -> TextEncoder:
    """The text encoder with its tokenizer."""
    if config.text == "small":
        return small_text_encoder(config.text_dim, config.text_layers, config.dropout)
    if config.text != "roberta":
        raise ValueError(f"unknown text encoder {config.text!r}: choose one of roberta, small")
    if config.text_weights is None:
        raise FileNotFoundError(
            "system.text=roberta needs the files of roberta-base (tokenizer.json, or vocab.json and merges.txt; "
            "config.json and model.safetensors to start from its weights): put them in a folder and name it with "
            "system.text_weights=FOLDER, or use system.text=small, which needs no files"
        )
    return roberta_from_folder(config.text_weights)
