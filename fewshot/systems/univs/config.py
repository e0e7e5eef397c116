"""Settings of UniVS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from fewshot.config.keys import key
from fewshot.systems.config import SMALL_BACKBONE, BackboneConfig, SystemConfig

STARTS = ("released", "scratch")
SEPARATIONS = ("sep", "sep-blocked", "sep-l2p", "none")
QUERIES = ("prompt", "learn", "prompt+learn")


@dataclass
class UniVSConfig(BackboneConfig, SystemConfig):
    """UniVS and its sizes."""

    name: str = key("univs", "the system")
    text: str = key(
        "none",
        "text tower, which reads expressions and names of classes; clip: that of the released models, in the folder "
        "text_weights (without a folder it reads nothing); none: no expressions",
        choices=("clip", "small", "none"),
    )
    text_weights: Optional[str] = key(
        None,
        "local folder of a CLIP (text=clip only): tokenizer files, and its weights as transformers has them or in one "
        "official file *.pth",
        place=True,
    )
    concepts: Optional[str] = key(
        None,
        "file with class embeddings, the official one or one of one's own; null: the text tower makes them",
        place=True,
    )
    text_dim: int = key(640, "width of the text features", minimum=1, maximum=8192)
    text_layers: int = key(12, "layers of the text tower (small only)", minimum=1, maximum=64)
    freeze_text: bool = key(True, "keep the text tower as it starts")
    text_to_image: bool = key(True, "words look at the frames before they are prompts")
    hidden_dim: int = key(256, "width of the network; a multiple of 32 and of the heads", minimum=32, maximum=8192)
    heads: int = key(8, "attention heads; must divide hidden_dim", minimum=1, maximum=256)
    encoder_layers: int = key(6, "layers of the pixel decoder", minimum=1, maximum=64)
    pixel_feedforward_dim: int = key(
        1024, "width of the feed-forward layers of the pixel decoder", minimum=1, maximum=65536
    )
    decoder_layers: int = key(9, "rounds of the decoder", minimum=1, maximum=64)
    feedforward_dim: int = key(2048, "width of the decoder's feed-forward layers", minimum=1, maximum=65536)
    num_queries: int = key(200, "learnable queries, beside those of the prompts", minimum=1, maximum=10_000)
    dense_points: int = key(32, "cells of a mask that are its prompt", minimum=4, maximum=4096)
    start: str = key(
        "released",
        "first weights of what is not in a file; released: narrow, for a network of full width that starts from a "
        "Mask2Former; scratch: wider, so that a small network learns to read its prompts",
        choices=STARTS,
    )
    prior: bool = key(
        False,
        "masks of supports start from maps of how like them each place is, which training from scratch needs (not in "
        "the released models)",
    )
    mask_stride: int = key(
        4, "pixels per mask cell of episodes, 4 as released, or 1 for small objects", minimum=1, maximum=4
    )
    background: bool = key(
        False,
        "given objects (VOS): the rest of the frame is a prompt too and competes for the pixels, as a network expects "
        "that learnt from clips whose prompts fill the frame (not in the released models)",
    )
    separation: str = key(
        "sep",
        "who meets whom in the self-attention; sep: learnable queries among themselves and prompts among themselves, "
        "sep-blocked: a prompt itself alone, sep-l2p: prompts everything, none: all",
        choices=SEPARATIONS,
    )
    object_queries: str = key(
        "prompt",
        "tests: whose answers follow a given object; prompt: those of its prompt, as released, learn: those of the "
        "learnable query most like its past, prompt+learn: a blend of both where they are of one thing",
        choices=QUERIES,
    )
    decay_norms: bool = key(True, "training: weight decay on norms and embeddings too; false: not, as released")
    visual_share: float = key(
        0.5,
        "training: share of the clips with classes that are asked with masks, boxes and points; the others with names",
        minimum=0,
        maximum=1,
    )
    shuffled_looks: bool = key(
        False,
        "training: prompts of mixed kinds have the looks of other objects of their clip, as in the released code",
    )
    permute_frames: bool = key(
        True, "training: the mask of a frame is drawn by the query of another one, so that queries are alike over time"
    )
    count_absent: bool = key(
        False, "training: losses of prompts are divided by the prompts for nothing that is there too, as released"
    )
    most_prompts: int = key(20, "training: most objects of a clip, and most classes asked for", minimum=1, maximum=1000)
    mask_points: int = key(12544, "training: points at which a mask is compared", minimum=1, maximum=1_000_000)
    likeness_weight: float = key(
        0.5, "training: weight of the losses of re-identification; 0: none", minimum=0, maximum=1e6
    )
    clip_frames: int = key(
        0,
        "training: longer videos are learnt clip by clip, of so many frames, with a memory; 0: a video is one clip",
        minimum=0,
        maximum=1000,
    )
    weights_of: str = key(
        "student",
        "which weights of an official file are read, the trained ones or their moving average",
        choices=("student", "teacher"),
    )

    def check(self) -> None:
        """Refuse widths that cannot be split among the heads or the groups of the pixel decoder."""
        if self.hidden_dim % self.heads:
            raise ValueError(f"system.heads={self.heads} must divide system.hidden_dim={self.hidden_dim}")
        if self.hidden_dim % 32:
            raise ValueError(f"system.hidden_dim={self.hidden_dim} must be a multiple of 32")
        if self.text == "clip" and not self.freeze_text:
            raise ValueError("system.freeze_text=false: system.text=clip does not learn; take system.text=small")
        if self.text != "clip" and self.text_weights is not None:
            raise ValueError(f"system.text_weights={self.text_weights} is for system.text=clip, not {self.text}")
        if self.text == "small" and self.text_dim % 16:
            raise ValueError(f"system.text_dim={self.text_dim} must be a multiple of 16 for the small text tower")


# An instance that a CPU trains in seconds.
SMALL = {
    **SMALL_BACKBONE,
    "text": "small",
    "text_dim": 32,
    "text_layers": 1,
    "freeze_text": False,
    "hidden_dim": 32,
    "heads": 4,
    "encoder_layers": 1,
    "pixel_feedforward_dim": 64,
    "decoder_layers": 3,
    "feedforward_dim": 64,
    "num_queries": 4,
    "dense_points": 8,
}
