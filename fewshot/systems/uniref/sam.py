"""UniRef++ as a plug-in of Segment Anything: UniFusion between its image encoder and its mask decoder.

Wu et al., UniRef++, arXiv 2312.15715, 2023, its plug-in for foundation models. SAM's image encoder stays as it is; the
mask decoder, the fusion and the encoders of the references learn. What the decoder is prompted with is one token, the
reference in one vector.

Legend: B episodes, K shots, N query clips (B * expressions), T frames, n = N * T, side of SAM's square plane in pixels,
g = side / 16 cells, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from einops import repeat
from torch import Tensor, nn

from episodes.batch import ClipBatch
from fewshot.losses.masks import visible_frames
from fewshot.nn.fusion import Words
from fewshot.nn.masks import padded_masks
from fewshot.nn.outputs import Losses, Prediction
from fewshot.nn.sam import SAM
from fewshot.nn.text import TextEncoder, TextProjection
from fewshot.nn.unifusion import UniFusion
from fewshot.systems.base import ReferenceState, System, learning_groups
from fewshot.systems.uniref.fusing import encode_words, fuse_level
from fewshot.systems.uniref.state import UniRefState, mask_reference

MASK_WEIGHT, DICE_WEIGHT = 2.0, 0.5
DICE_SCALE, DICE_EPS = 1000.0, 1e-6
FUSION_INITS = ("zero", "similarity")
SURE = 1e-4  # predicted IoUs are kept this far from 0 and 1 where a logit of them is needed


@dataclass(frozen=True, kw_only=True)
class SAMPrediction(Prediction):
    """A prediction with one mask for each frame, at the resolution of the frames (stride 1).

    Attributes:
        low: `(n, 4 g, 4 g)` mask logits of SAM's whole plane, as the decoder gives them.
        quality: `(N, T)` predicted IoU, the official score; it may leave 0..1. `scores` are its logits, clipped.
        features: `(n, C, g, g)` image features; fused: the same after the fusion; prompts: `(n, C)`.
    """

    stride: int = 1
    tracked: bool = False
    low: Tensor
    quality: Tensor
    features: Tensor
    fused: Tensor
    prompts: Tensor


def predicted_iou(prediction: Prediction) -> Tensor:
    """The official score of each frame `(N, T)`, for the trackers."""
    if not isinstance(prediction, SAMPrediction):
        raise TypeError(f"only predictions of UniRefSAM have a predicted IoU, got {type(prediction).__name__}")
    return prediction.quality


class UniRefSAM(System):
    """SAM that segments what is referred to by language, by a mask in other images, or by both.

    Args:
        sam: the networks of SAM. Frames may have any size up to its plane; the released sizes expect a longer side of
            1024 pixels.
        text: text encoder with its tokenizer; None: expressions are refused.
        value_encoder: encoder of support frames with their masks at stride 16
            (`fewshot.nn.value_encoder.Stride16ValueEncoder`); None: supports are refused.
        heads, fusion_head_dim, fusion_dropout: of UniFusion.
        freeze_text: keep the text encoder as it is, as in the video stage of the training.
        text_dropout: keep the dropout of a frozen text encoder in training, as the official code does.
        text_projection_dropout: dropout of the projected words in training.
        bf16_attention: attend in bfloat16 in the fusion.
        fusion_init: `zero` or `similarity`, see `UniRef`.
        text_lr_absolute: learning rate of the text encoder; None: that of the rest.
    """

    name = "uniref_sam"
    needs = frozenset()
    parts = {"head": ("sam.mask_decoder",), "fusion": ("fusion",)}
    independent_of_padding = True  # every frame is padded to the plane

    def __init__(
        self,
        sam: SAM,
        text: TextEncoder | None,
        value_encoder: nn.Module | None,
        *,
        heads: int = 8,
        fusion_head_dim: int = 256,
        fusion_dropout: float = 0.1,
        freeze_text: bool = False,
        text_dropout: bool = False,
        text_projection_dropout: float = 0.1,
        bf16_attention: bool = False,
        fusion_init: str = "zero",
        text_lr_absolute: float | None = 1e-5,
    ) -> None:
        super().__init__()
        if fusion_init not in FUSION_INITS:
            raise ValueError(f"fusion_init must be one of {', '.join(FUSION_INITS)}, got {fusion_init!r}")
        if text is None and value_encoder is None:
            raise ValueError(
                "UniRefSAM needs a text encoder, a value encoder, or both: it segments what is referred to"
            )
        self.sam, self.text, self.value_encoder = sam, text, value_encoder
        self.text_projection = text and TextProjection(text.dim, sam.dim, text_projection_dropout, pool="mean")
        self.fusion = UniFusion(sam.dim, heads, fusion_head_dim, fusion_dropout, bf16=bf16_attention)
        if fusion_init == "similarity":
            self.fusion.start_as_similarity()
        self.text_lr_absolute, self.text_is_frozen, self.text_dropout = text_lr_absolute, freeze_text, text_dropout
        self.accepts = frozenset(k for k, part in (("support", value_encoder), ("expression", text)) if part)
        self._freeze()

    def _freeze(self) -> None:
        """Freeze SAM but for its mask decoder, and what has no share in the output."""
        frozen: list[nn.Module] = [self.sam.image_encoder, self.sam.prompt_encoder, *self.sam.unused()]
        if self.text is not None:
            frozen.append(self.text if self.text_is_frozen else self.text.pooler)
        for module in frozen:
            module.requires_grad_(False)

    # ------------------------------------------------------------------------------------------------ the two questions

    def encode_supports(self, supports: ClipBatch, shots: int) -> UniRefState:
        """Keys and values of `(B * K)` support clips, with one level.

        All frames of the `K` clips of an episode become one sequence of tokens.

        Raises:
            ValueError: there is no value encoder, a support has no mask, or the frames are too large.
        """
        if self.value_encoder is None:
            raise ValueError(
                "this UniRefSAM was built without a value encoder (value_encoder=None) and takes no supports: give it "
                "expressions, or build it with one"
            )
        images = self.sam.padded(supports.frames.flatten(0, 1))
        masks = self.sam.padded(padded_masks(supports).flatten(0, 1))
        (keys,) = supports.for_each_clip(self.frame_features(supports))
        values = self.value_encoder(images, masks, keys)
        sizes = supports.sizes.repeat_interleave(supports.frames.shape[1], 0)
        episodes = len(supports) // shots
        level = mask_reference(keys, values, reference_padding(sizes, keys.shape[-1]), episodes)
        return UniRefState((level,), images=len(images) // episodes)

    def forward(self, queries: ClipBatch, state: ReferenceState) -> SAMPrediction:
        """Segment the object of each of `N` query clips, by its expression, by its reference in `state`, or by both.

        With both, the words prompt the decoder.

        Raises:
            ValueError: a clip has no reference, another number of references than of clips, or frames that are too
                large.
        """
        state.check(len(queries))
        words, supports = state.words, state.supports
        if words is not None:
            sentence = words.sentence
        elif supports is not None:
            sentence = supports.for_clips(copies=1)[0].embed
        else:
            raise ValueError("UniRefSAM segments what is referred to: give the clips expressions, supports, or both")
        t, (height, width) = queries.frames.shape[1], queries.frames.shape[-2:]
        seen = self.frame_features(queries)
        fused = self.fuse(seen[0], words, supports, queries)
        (features,) = queries.for_each_clip(seen)
        prompts = repeat(sentence, "n c -> (n t) c", t=t)
        low, quality = self.sam.decode(fused, prompts)
        masks = self.enlarged(low)[:, :height, :width].unflatten(0, (-1, t))[:, :, None]
        quality = quality.unflatten(0, (-1, t))
        scores = quality.float().clamp(SURE, 1 - SURE).logit()[..., None]
        return SAMPrediction(
            masks=masks,
            scores=scores,
            low=low,
            quality=quality,
            features=features,
            fused=fused,
            prompts=prompts,
        )

    def losses(self, prediction: Prediction, queries: ClipBatch, num_frames: float | None = None) -> Losses:
        """Binary cross entropy and dice of every frame's mask on SAM's plane, where padding is background.

        Averaged over the frames; `num_frames` weighs the batch among those of its step, by the frames that show the
        object. Pixels whose truth is unknown are left out.

        Raises:
            ValueError: a query clip has no masks.
        """
        if not isinstance(prediction, SAMPrediction):
            raise TypeError(
                f"the losses of UniRefSAM are those of its own predictions, got {type(prediction).__name__}"
            )
        missing = [n for n, mask in enumerate(queries.masks) if mask is None]
        if missing:
            raise ValueError(f"query clips {missing} have no target masks to learn from")
        truth = self.sam.padded(padded_masks(queries).flatten(0, 1))
        terms = mask_losses(self.enlarged(prediction.low.float()), truth, self._known(queries, truth))
        losses = Losses(MASK_WEIGHT * terms["loss_mask"] + DICE_WEIGHT * terms["loss_dice"], terms)
        return losses if num_frames is None else losses.times(visible_frames(queries) / num_frames)

    # ------------------------------------------------------------------------------------------------ the steps

    def frame_features(self, clips: ClipBatch) -> tuple[Tensor, ...]:
        """SAM's features of the frames, `(n, C, g, g)`, once where clips share them."""
        return clips.features or (self.encode_frames(self.sam.padded(clips.frames.flatten(0, 1))),)

    def encode_frames(self, images: Tensor) -> Tensor:
        """Images `(n, 3, side, side)` to SAM's features `(n, C, g, g)`, without gradient: the encoder is frozen."""
        with torch.no_grad():
            return self.sam.encode(images)

    def encode_text(self, expressions: Sequence[str | None]) -> Words | None:
        """Words of `N` expressions; None where no clip has one."""
        return encode_words(expressions, self.text, self.text_projection, "UniRefSAM")

    def fuse(self, features: Tensor, words: Words | None, state: UniRefState | None, queries: ClipBatch) -> Tensor:
        """Features `(n, C, g, g)` that know the reference of their clip, of features that clips may share."""
        masks = None if state is None else state.for_clips(copies=1)[0]
        return fuse_level(self.fusion, features, words, masks, len(queries) // queries.copies)

    def enlarged(self, low: Tensor) -> Tensor:
        """Mask logits `(n, 4 g, 4 g)` on the pixels of the plane: `(n, side, side)`."""
        size = (self.sam.side, self.sam.side)
        return F.interpolate(low[:, None], size, mode="bilinear", align_corners=False)[:, 0]

    def _known(self, queries: ClipBatch, truth: Tensor) -> Tensor:
        """1 on the pixels whose truth is known, padding included: `(n, side, side)`."""
        if not any(x is not None for x in queries.ignore):
            return torch.ones_like(truth)
        nothing = (torch.zeros_like(mask) for mask in queries.masks if mask is not None)
        unknown = tuple(empty if x is None else x for x, empty in zip(queries.ignore, nothing, strict=True))
        return 1 - self.sam.padded(padded_masks(_with_masks(queries, unknown)).flatten(0, 1))

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """Optimiser groups, see `learning_groups`: the text encoder apart from the rest."""
        text = lr if self.text_lr_absolute is None else self.text_lr_absolute
        return learning_groups(self.named_parameters(), {"main": lr, "backbone": lr, "text": text, "offsets": lr})


def reference_padding(sizes: Tensor, cells: int) -> Tensor:
    """Cells of a support frame that are not attended to: `(n, g, g)` bool, of unpadded sizes `(n, 2)` in pixels.

    Released weights compare the index of a *cell* with the size in *pixels*. So nothing is left out unless a side is
    shorter than the number of cells, and the padding of the plane is attended to and part of the embedding.
    """
    index = torch.arange(cells, device=sizes.device)
    rows, columns = (index >= sizes[:, axis, None] for axis in (0, 1))
    return rows[:, :, None] | columns[:, None]


def mask_losses(logits: Tensor, truth: Tensor, known: Tensor) -> dict[str, Tensor]:
    """`loss_mask` and `loss_dice`, means over `n` masks `(n, H, W)`; `known` is 0 where a pixel is left out.

    The dice loss divides its sums by 1000 and adds 1e-6 to both, as in Lai et al., LISA, CVPR 2024.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    entropy = (entropy * known).sum((1, 2)) / known.sum((1, 2)).clamp(min=1)
    found, truth = logits.sigmoid() * known / DICE_SCALE, truth * known
    overlap = 2 * (found * truth).sum((1, 2))
    total = found.sum((1, 2)) + (truth / DICE_SCALE).sum((1, 2))
    dice = 1 - (overlap + DICE_EPS) / (total + DICE_EPS)
    return {"loss_mask": entropy.mean(), "loss_dice": dice.mean()}


def _with_masks(clips: ClipBatch, masks: tuple[Tensor, ...]) -> ClipBatch:
    return ClipBatch(clips.frames, clips.padding, clips.sizes, clips.expressions, masks)
