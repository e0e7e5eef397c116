"""Settings that several systems share: a system's own dataclass takes the groups that it needs, and adds its own keys.

Only dataclasses: nothing heavy is imported here, so that `--help` and refusals are quick.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Optional

from fewshot.config.keys import key
from fewshot.config.limits import LONGEST_SIDE

MISSING = "???"  # OmegaConf's mark of a mandatory value; models are built without it
BACKBONES = (
    *("resnet50", "resnet101"),
    *("swin_tiny", "swin_small", "swin_base", "swin_large"),
    *("video_swin_tiny", "video_swin_small", "video_swin_base"),
    *("mobilenet_v2", "tiny"),
)
INITS = ("default", "similarity")  # of what relates query and supports
TEXTS = ("roberta", "bert", "small", "none")


@dataclass
class SystemConfig:
    """A system and its sizes. `experiments/system/*.yaml` fill it."""

    name: str = key(MISSING, "the system")

    def check(self) -> None:
        """Refuse values that do not fit together.

        Raises:
            ValueError: names the keys, their values and what is valid.
        """

    @property
    def support_key(self) -> str | None:
        """The `<key>=<value>` that makes it take masked supports; None: it takes them as it is set."""
        return None

    @property
    def threads(self) -> int | None:
        """CPU threads that serve it best; None: as torch chooses."""
        return None

    def places(self) -> tuple[str, ...]:
        """Names of the keys that hold files or folders: these may lie elsewhere on another machine."""
        return tuple(entry.name for entry in fields(self) if entry.metadata.get("place"))

    def loaded(self) -> Any:
        """The same settings for a system whose weights are loaded: files that only bring weights are not named."""
        changes: dict[str, Any] = {name: None for name in self.places() if name == "backbone_weights"}
        return replace(self, **changes)

    def without_places(self) -> Any:
        """The same settings without files and folders: what they bring is in the weights."""
        changes: dict[str, Any] = dict.fromkeys(self.places())
        return replace(self, **changes)


@dataclass
class BackboneConfig:
    """An image encoder."""

    backbone: str = key("resnet50", "image encoder", choices=BACKBONES)
    backbone_weights: Optional[str] = key(
        None,
        "file with backbone weights (torchvision state dict); imagenet: those of torchvision, fetched where they are "
        "not in its cache yet; null: random",
        place=True,
    )
    backbone_window: Optional[int] = key(
        None,
        "side of an attention window (swin_tiny to swin_large only); null: 7, base and large 12",
        minimum=1,
        maximum=64,
    )
    freeze_backbone: bool = key(True, "keep the image encoder as it starts")
    backbone_width: int = key(32, "channels of the first stage (tiny backbone only)", minimum=1, maximum=2048)
    activation_checkpointing: bool = key(False, "trade time for memory in training")

    @property
    def threads(self) -> int | None:
        """One for the tiny backbone: two are no faster, and much slower where another process wants a core."""
        return 1 if self.backbone == "tiny" else None


@dataclass
class TextConfig:
    """A text encoder."""

    text: str = key("roberta", "text encoder; none: no expressions", choices=TEXTS)
    text_weights: Optional[str] = key(
        None,
        "local folder of roberta-base or bert-base-uncased: config, weights and tokenizer files",
        place=True,
    )
    freeze_text: bool = key(True, "keep the text encoder as it starts")
    text_dim: int = key(768, "width of the text encoder (small only)", minimum=1, maximum=8192)
    text_layers: int = key(12, "layers of the text encoder (small only)", minimum=1, maximum=64)
    text_dropout: bool = key(
        False, "true: a frozen text encoder keeps its dropout in training, as in the released training code"
    )
    dropout: float = key(0.1, "dropout probability", minimum=0, maximum=1)


@dataclass
class TransformerConfig:
    """A deformable transformer."""

    hidden_dim: int = key(256, "width of the transformer", minimum=1, maximum=8192)
    heads: int = key(8, "attention heads; must divide hidden_dim", minimum=1, maximum=256)
    encoder_layers: int = key(4, "layers of the deformable encoder", minimum=1, maximum=64)
    decoder_layers: int = key(4, "layers of the deformable decoder", minimum=1, maximum=64)
    feedforward_dim: int = key(2048, "width of the transformer's feed-forward layers", minimum=1, maximum=65536)
    num_queries: int = key(5, "candidate masks per frame", minimum=1, maximum=10_000)
    points: int = key(4, "sampling points per head and level of the deformable attention", minimum=1, maximum=64)

    def widths(self) -> dict[str, int]:
        """Width, depth and numbers of the transformer, by the names that constructors give them."""
        return {entry.name: getattr(self, entry.name) for entry in fields(TransformerConfig)}

    def check_width(self) -> None:
        """Raise ValueError unless the width can be split among the heads and the four parts of a position code."""
        if self.hidden_dim % self.heads:
            raise ValueError(f"system.heads={self.heads} must divide system.hidden_dim={self.hidden_dim}")
        if self.hidden_dim % 4:
            raise ValueError(f"system.hidden_dim={self.hidden_dim} must be a multiple of 4")


@dataclass
class TrunkConfig(TransformerConfig, TextConfig, BackboneConfig, SystemConfig):
    """What ReferFormer and SgMg have in common."""

    text: str = key("roberta", "text encoder", choices=("roberta", "bert", "small"))
    freeze_backbone: bool = key(
        False, "keep the image encoder as it starts; false: all of it learns but the stem and first stage of a ResNet"
    )
    sentence: str = key(
        "pooled",
        "what the queries start as: the text encoder's pooled state, or the mean of the words (a file of roberta-base "
        "has no weights of the pooler, which then starts at random)",
        choices=("pooled", "mean"),
    )
    train_pooler: bool = key(False, "the pooler of a frozen text encoder learns all the same")
    affinity: str = key(
        "none", "how masked supports count: not at all, or by CMA's cross-modal affinity", choices=("none", "cma")
    )
    support_frames: str = key("middle", "frames of each support that the affinity sees", choices=("middle", "all"))
    affinity_init: str = key(
        "default", "start of the affinity: as released with CMA, or as feature similarity", choices=INITS
    )
    fusion_init: str = key(
        "default",
        "start of the fusion with the words: as released, or so that visual features pass, for training from scratch",
        choices=("default", "pass"),
    )
    word_positions: bool = key(
        False,
        "places ask the words with their position, which 'left' and 'upper' need; with supports the warm-up teaches it "
        "(not for released weights)",
    )
    box_weight: float = key(
        1.0, "factor on the weights of the box losses, which drown those of masks from scratch", minimum=0, maximum=1e6
    )
    absent_boxes: bool = key(
        False,
        "true: frames without the object count in the costs and losses of boxes, towards an empty box, as in the "
        "released training; false: those that show it",
    )
    masks_per_clip: bool = key(
        False,
        "true: mask losses are means over a clip, divided by its visible frames again, as in the released training; "
        "false: they weigh as much whatever the length of a clip",
    )
    clean_positions: bool = key(
        False, "position codes that are no rounding noise on the padding (not for released weights)"
    )

    fresh_scores: bool = key(
        False,
        "true: score heads start anew where a training starts from other weights (train.init_from), as in the released "
        "fine-tuning",
    )
    pad_multiple: Optional[int] = key(
        None,
        "frames are padded to a multiple of this when it is tested, 1: not at all; null: as in the released tests, 32 "
        "on A2D, JHMDB and RefCOCO, and elsewhere 16 (SgMg, whose masks depend on it everywhere) or 1 (ReferFormer)",
        minimum=1,
        maximum=1024,
    )

    @property
    def support_key(self) -> str | None:
        """See `SystemConfig.support_key`."""
        return "system.affinity=cma" if self.affinity == "none" else None

    def check(self) -> None:
        """Refuse widths that cannot be split among the heads."""
        self.check_width()


# What `recipe=official` turns on in ReferFormer and SgMg: the released training.
OFFICIAL_TRUNK = {
    "system.text_dropout": True,
    "system.fresh_scores": True,
    "system.absent_boxes": True,
    "system.masks_per_clip": True,
    "benchmark.flip_inside_words": True,
    "benchmark.wrap_colours": True,
    "parts.*.crop_anywhere": True,
    "task.keep_case": True,
    "task.one_candidate": False,
    "optim.lr": 1e-4,
    "optim.weight_decay": 5e-4,
    "optim.warmup_fraction": 0.0,
    "optim.clip_norm": 0.1,
    "train.prototype_fraction": 0.0,
    "train.prototype_weight": 0.0,
}


def schedule(epochs: int, *drops: int) -> dict[str, Any]:
    """A released schedule: epochs, and those after which the rate falls tenfold."""
    return {"epochs": epochs, "optim.schedule": "step", "optim.drop_at": [drop / epochs for drop in drops]}


REPEATS = {"parts.*.repeat_frames": True}  # clips as released

ON_IMAGES = ("refcoco", "refcoco_plus", "refcocog")
BY_NEAREST = {"task.masks_by_nearest": True}

ON_VIDEOS = ("ref_youtube_vos", "ref_davis17")

# How both are tested: at the sizes of training. Other data sets: as every system is.
_IMAGES = {"task.short": 360, "task.long": 640, "task.rule": "short"}
TRUNK_TESTS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(ON_VIDEOS, {**_IMAGES, "task.threshold": None}),
    **dict.fromkeys(ON_IMAGES, _IMAGES),
}
# The released tests on videos have no limit of the long side: wide ones are larger than in training.
OFFICIAL_TESTS: dict[str, dict[str, Any]] = dict.fromkeys(ON_VIDEOS, {"task.long": LONGEST_SIDE})

# What makes ReferFormer and SgMg do without masked supports.
WORDS_ALONE = {"system.affinity": "none"}

# Parts that a CPU trains in seconds, without files: what the small instances of the systems share.
SMALL_BACKBONE = {"backbone": "tiny", "backbone_width": 8, "freeze_backbone": False}
SMALL_TEXT = {"text": "small", "text_dim": 32, "text_layers": 1, "freeze_text": False, "dropout": 0.0}
SMALL_TRANSFORMER = {
    "hidden_dim": 32,
    "heads": 4,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "feedforward_dim": 64,
    "num_queries": 1,
}
