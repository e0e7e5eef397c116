"""A system from its configuration. The only place that knows which numbers go where."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from torch import nn

from fewshot.config import SystemConfig
from fewshot.nn.backbones import Backbone, MobileNetV2, ResNet, TinyBackbone
from fewshot.nn.sam import SAM
from fewshot.nn.swin import Swin
from fewshot.nn.text import TextEncoder, bert_from_folder, roberta_from_folder, small_text_encoder
from fewshot.nn.value_encoder import Stride16ValueEncoder, TinyValueEncoder, ValueEncoder
from fewshot.systems.base import System
from fewshot.systems.cma import CMA, Sizes
from fewshot.systems.prototype import Prototype
from fewshot.systems.uniref import Sizes as UniRefSizes
from fewshot.systems.uniref import UniRef
from fewshot.systems.uniref.sam import UniRefSAM
from fewshot.weights import official_tensors, read_pickle

SWIN_SIZES = ("tiny", "small", "base", "large")
TEXT_FILES = {
    "roberta": ("roberta-base", "tokenizer.json, or vocab.json and merges.txt"),
    "bert": ("bert-base-uncased", "tokenizer.json, or vocab.txt"),
}


def build_system(config: SystemConfig, recipe: str = "fixed") -> System:
    """The system that `config` names, with random weights except those of `backbone_weights` and `text_weights`.

    Args:
        recipe: `official` also brings back what the official training does inside the model (the dropout of a frozen
            text encoder).

    Raises:
        ValueError: for an unknown name, or sizes that do not fit together.
        FileNotFoundError: for missing weights or tokenizer files.
    """
    builders: dict[str, Callable[[SystemConfig, str], System]] = {
        "cma": _cma,
        "prototype": _prototype,
        "uniref": _uniref,
        "uniref_sam": _uniref_sam,
    }
    if config.name not in builders:
        raise ValueError(f"unknown system {config.name!r}: choose one of {', '.join(sorted(builders))}")
    system = builders[config.name](config, recipe)
    system.built_from = config
    return system


def build_cma(config: SystemConfig, text: TextEncoder, recipe: str = "fixed") -> CMA:
    """A CMA of the configured sizes around a text encoder."""
    _check_width(config)
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
    text = build_text_encoder(config)
    if text is None:
        raise ValueError("system.text=none: cma cannot do without expressions; choose roberta or small")
    return build_cma(config, text, recipe)


def _prototype(config: SystemConfig, recipe: str) -> System:
    backbone = build_backbone(config)
    return Prototype(backbone.freeze() if config.freeze_backbone else backbone)


def build_uniref(config: SystemConfig, text: TextEncoder | None, recipe: str = "fixed") -> UniRef:
    """A UniRef++ of the configured sizes around a text encoder, or without one."""
    _check_width(config)
    sizes = UniRefSizes(
        hidden_dim=config.hidden_dim,
        heads=config.heads,
        encoder_layers=config.encoder_layers,
        decoder_layers=config.decoder_layers,
        feedforward_dim=config.feedforward_dim,
        num_queries=config.num_queries,
        points=config.points,
        dropout=config.dropout,
        fusion_heads=config.heads,
        fusion_head_dim=config.fusion_head_dim,
        fusion_dropout=config.fusion_dropout,
        num_classes=config.num_classes,
    )
    learns = "stem" if config.backbone.startswith(("resnet", "swin")) else "none"
    return UniRef(
        build_backbone(config),
        text,
        build_value_encoder(config),
        sizes,
        freeze_backbone="all" if config.freeze_backbone else learns,
        freeze_text=config.freeze_text,
        text_dropout=recipe == "official",
        bf16_attention=config.bf16_attention,
        fusion_init="similarity" if config.affinity_init == "similarity" else "zero",
        mask_stride=config.mask_stride,
        mask_aux=config.mask_aux,
        box_supervision=config.box_supervision,
        # pretrained parts learn more slowly; parts that start from scratch do not
        backbone_lr=1.0 if config.backbone == "tiny" else 0.1,
        text_lr_absolute=None if config.text == "small" else 1e-5,
        checkpointing=config.activation_checkpointing,
    )


def build_value_encoder(config: SystemConfig) -> nn.Module | None:
    """What encodes the masked references of UniRef++; None: it takes none."""
    builders: dict[str, Callable[[], nn.Module | None]] = {
        "resnet18": lambda: ValueEncoder(config.hidden_dim),
        "tiny": lambda: TinyValueEncoder(config.hidden_dim),
        "none": lambda: None,
    }
    if config.value_encoder not in builders:
        raise ValueError(f"unknown value encoder {config.value_encoder!r}: choose one of {', '.join(builders)}")
    return builders[config.value_encoder]()


def _uniref(config: SystemConfig, recipe: str) -> System:
    return build_uniref(config, build_text_encoder(config), recipe)


def build_uniref_sam(config: SystemConfig, text: TextEncoder | None, recipe: str = "fixed") -> UniRefSAM:
    """UniRef++ as a plug-in of a Segment Anything of the configured size, with random weights."""
    sam = SAM(config.sam_size)
    return UniRefSAM(
        sam,
        text,
        None if config.value_encoder == "none" else Stride16ValueEncoder(sam.dim),
        heads=config.heads,
        fusion_head_dim=config.fusion_head_dim,
        fusion_dropout=config.fusion_dropout,
        freeze_text=config.freeze_text,
        text_dropout=recipe == "official",
        bf16_attention=config.bf16_attention,
        fusion_init="similarity" if config.affinity_init == "similarity" else "zero",
        text_lr_absolute=None if config.text == "small" else 1e-5,
    )


def _uniref_sam(config: SystemConfig, recipe: str) -> System:
    return build_uniref_sam(config, build_text_encoder(config), recipe)


def _check_width(config: SystemConfig) -> None:
    if config.hidden_dim % 4 or config.hidden_dim % config.heads:
        raise ValueError(f"hidden_dim {config.hidden_dim} must be a multiple of 4 and of heads ({config.heads})")


def build_backbone(config: SystemConfig) -> Backbone:
    """The image backbone, with its weights where a file is named."""
    checkpointing = config.activation_checkpointing
    builders: dict[str, Callable[[], Backbone]] = {
        "resnet50": lambda: ResNet(50, checkpointing),
        "resnet101": lambda: ResNet(101, checkpointing),
        **{f"swin_{size}": partial(Swin, size, checkpointing=checkpointing) for size in SWIN_SIZES},
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


def build_text_encoder(config: SystemConfig) -> TextEncoder | None:
    """The text encoder with its tokenizer; None for `none`."""
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
    return readers[config.text](config.text_weights)
