"""A UniRef++ that starts as a read-out of its supports: what it retrieves, what it shows, what the warm-up teaches."""

from __future__ import annotations

from dataclasses import replace

import torch

from episodes.batch import ClipBatch
from fewshot.nn.backbones import TinyBackbone
from fewshot.nn.text import small_text_encoder
from fewshot.nn.unifusion import UniFusion
from fewshot.nn.value_encoder import TinyValueEncoder
from fewshot.systems.uniref.model import Sizes, UniRef
from fewshot.systems.uniref.start import places_meant, retrieved_masks
from tests.fewshot.tiny import clips, predicted

SIZES = Sizes(
    hidden_dim=64,
    heads=4,
    encoder_layers=1,
    decoder_layers=1,
    feedforward_dim=64,
    num_queries=1,
    fusion_heads=4,
    fusion_head_dim=32,
    fusion_dropout=0.0,
)


def from_scratch() -> UniRef:
    """A small model at its start."""
    torch.manual_seed(0)
    parts = TinyBackbone(16), None, TinyValueEncoder(64), SIZES
    return UniRef(*parts, freeze_backbone="none", fusion_init="similarity")


def wordless(batch: ClipBatch) -> ClipBatch:
    """The same clips without expressions."""
    return replace(batch, expressions=(None,) * len(batch))


def test_a_place_retrieves_the_mask_of_the_place_that_looks_like_it() -> None:
    """Features are 1 of 2 random vectors, on and off the object: attention by similarity tells them apart."""
    torch.manual_seed(0)
    fusion = UniFusion(32, 4, 16, 0.0)
    fusion.start_as_similarity()
    supports, queries = clips(1, frames=1), clips(1, frames=1, seed=1)
    share = torch.nn.functional.adaptive_avg_pool2d(supports.masks[0][:, None].float(), (8, 8))
    looks = torch.randn(2, 32)
    features = (share > 0.5).float() * looks[0, :, None, None] + (share <= 0.5).float() * looks[1, :, None, None]
    read = retrieved_masks(fusion, features, features, supports, len(queries), shots=1)
    assert read.shape == (1, 1, 8, 8)
    inside = share[:, 0] > 0.5
    assert read[0][inside].min() > 0.8 and read[0][~inside].max() < 0.2


def test_before_any_training_masks_follow_the_support() -> None:
    """The query shows its square brighter than the ground, as the support does: the first logits are higher there."""
    torch.manual_seed(0)
    model = UniRef(
        TinyBackbone(16), None, TinyValueEncoder(64), SIZES, freeze_backbone="none", fusion_init="similarity"
    )
    supports, queries = wordless(clips(1, frames=1)), wordless(clips(1, frames=1, seed=1))
    with torch.no_grad():
        masks = predicted(model.eval(), queries, supports).masks[0, 0, 0]
        inverted = replace(supports, masks=tuple(~m for m in supports.masks))
        against = predicted(model, queries, inverted).masks[0, 0, 0]
    inside = queries.masks[0][0, 2::4, 2::4]
    gap = masks[inside].mean() - masks[~inside].mean()
    assert gap > 0
    assert against[inside].mean() - against[~inside].mean() < gap


def test_the_warm_up_teaches_projection_and_fusion_and_several_queries_share_their_supports() -> None:
    torch.manual_seed(0)
    model = UniRef(
        TinyBackbone(16), None, TinyValueEncoder(64), SIZES, freeze_backbone="none", fusion_init="similarity"
    )
    losses = model.warmup_losses(wordless(clips(2, frames=1)), wordless(clips(4, frames=1, seed=1)), shots=1)
    assert set(losses.terms) == {"loss_prototype", "loss_retrieval"}
    losses.total.backward()
    for weight in (model.level_projection.levels[0][0].weight, model.fusion.query.weight, model.fusion.key.weight):
        assert weight.grad is not None and weight.grad.abs().sum() > 0


def test_the_warm_up_teaches_words_which_of_two_alike_is_meant() -> None:
    """Everything looks the same, so that only the place and the words are left: after some steps they decide."""
    torch.manual_seed(0)
    parts = TinyBackbone(16), small_text_encoder(32, dropout=0.0), TinyValueEncoder(64), SIZES
    model = UniRef(*parts, freeze_backbone="none", fusion_init="similarity", word_positions=True)
    supports, (left, right) = clips(1, frames=1), (torch.zeros(1, 64, 64, dtype=torch.bool) for _ in range(2))
    left[:, 24:40, 4:28], right[:, 24:40, 36:60] = True, True
    frames = (left | right)[:, None].float().expand(2, 1, 3, 64, 64)
    queries = replace(
        clips(2, frames=1), frames=frames, masks=(left, right), expressions=("the dax on the left", "the right dax")
    )
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(40):
        losses = model.warmup_losses(supports, queries, shots=1)
        assert set(losses.terms) == {"loss_prototype", "loss_retrieval", "loss_words"}
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
    with torch.no_grad():
        tokens = model.frame_features(queries)[1]
        words = model.encode_text(("a dax on the left", "the right blick"))
        said = places_meant(model.fusion, tokens, words, queries)[:, 0]
    a, b = said[:, 3:5, 1:3].mean((1, 2)), said[:, 3:5, 5:7].mean((1, 2))  # cells of 8 pixels on the two things
    assert a[0] > b[0] + 1 and b[1] > a[1] + 1
