from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from benchmarks.protocols.images import IMAGE_PROTOCOLS
from episodes.clip import Clip, Objects
from episodes.episode import ClipSpec, EpisodeSpec
from fewshot.evaluation.query import QueryResult
from fewshot.evaluation.scoring import image_score

SIZES = [((6, 8), (33, 44)), ((8, 5), (41, 26)), ((8, 8), (20, 20))]  # of the network (padded: 8x8), of the image


def scored(maps: list[torch.Tensor], truth: torch.Tensor, protocol: str, ignore: torch.Tensor | None = None):
    """The counts of one query image `(H, W)`; `maps` are probabilities `(h, w)`."""
    still = ClipSpec("q", 1, ("0",))
    spec = EpisodeSpec("pascal5i", 0, "test", 0, 0, 1, "cat", (still,), (still,))
    frames = torch.zeros(1, 3, *maps[0].shape)
    clip = Clip(frames, Objects.one(truth[None]), ignore=None if ignore is None else ignore[None], video="q")
    return image_score(QueryResult(spec, 0, clip, tuple(m[None] for m in maps)), IMAGE_PROTOCOLS[protocol])


def counts(mask: torch.Tensor, truth: torch.Tensor, known: torch.Tensor) -> tuple[int, int, int, int]:
    """Intersections and unions, background first, over the known pixels."""
    mask, truth = mask[known], truth[known]
    sums = (~mask & ~truth, mask & truth, ~mask | ~truth, mask | truth)
    return tuple(int(x.sum()) for x in sums)


def numbers(score) -> tuple[int, int, int, int]:
    return score.inter_bg, score.inter_fg, score.union_bg, score.union_fg


@pytest.mark.parametrize(("network", "image"), SIZES)
def test_pfenet_enlarges_the_padded_logits_to_a_square_and_leaves_the_padding_out(network, image) -> None:
    generator = torch.Generator().manual_seed(3)
    height, width = network
    logits = torch.full((8, 8), 0.0)
    logits[:height, :width] = 3 * torch.randn(network, generator=generator)
    logits[height:], logits[:, width:] = logits[height - 1], logits[:, width - 1 : width]
    truth, unknown = torch.rand(image, generator=generator) > 0.6, torch.rand(image, generator=generator) > 0.9
    longer = max(image)
    padded = torch.zeros(longer, longer, dtype=torch.bool)
    known = padded.clone()  # 255 at the bottom and right, as PFENet pads the labels
    padded[: image[0], : image[1]], known[: image[0], : image[1]] = truth, ~unknown
    large = F.interpolate(logits[None, None], size=(longer, longer), mode="bilinear", align_corners=True)[0, 0]
    score = scored([logits[:height, :width].sigmoid()], truth, "pfenet", unknown)
    assert numbers(score) == counts(large > 0, padded, known)


def test_hsnet_counts_at_the_network_size_and_lets_shots_vote() -> None:
    truth = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]).bool()
    unknown = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]).bool()
    first, second = torch.tensor([[0.9, 0.9], [0.1, 0.1]]), torch.tensor([[0.9, 0.1], [0.9, 0.1]])
    third = torch.full((2, 2), 0.1)
    # Votes 2, 1, 1, 0: half of the highest count is the object. Truth 1, 0, 0, unknown.
    score = scored([first, second, third], truth, "hsnet", unknown)
    assert numbers(score) == (0, 1, 2, 3)
    none = scored([third, third], truth, "hsnet")
    assert (none.inter_fg, none.union_fg) == (0, 1), "no vote at all is background"


def test_uniref_counts_unknown_pixels_as_background() -> None:
    truth, unknown = torch.zeros(4, 4, dtype=torch.bool), torch.ones(4, 4, dtype=torch.bool)
    score = scored([torch.full((2, 2), 0.9)], truth, "uniref", unknown)
    assert (score.inter_fg, score.union_fg) == (0, 16)
