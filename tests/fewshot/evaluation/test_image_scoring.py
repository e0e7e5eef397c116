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


def scored(maps: list[torch.Tensor], truth: torch.Tensor, protocol: str, ignore=None, side: int | None = None):
    """The counts of one query image `(H, W)`; `maps` are logits `(h, w)`, of a padded square of `side`."""
    still = ClipSpec("q", 1, ("0",))
    spec = EpisodeSpec("pascal5i", 0, "test", 0, 0, 1, "cat", (still,), (still,))
    frames = torch.zeros(1, 3, *maps[0].shape)
    clip = Clip(frames, Objects.one(truth[None]), ignore=None if ignore is None else ignore[None], video="q")
    return image_score(QueryResult(spec, 0, clip, tuple(m[None] for m in maps)), IMAGE_PROTOCOLS[protocol], side)


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
    score = scored([logits[:height, :width]], truth, "pfenet", unknown)
    assert numbers(score) == counts(large > 0, padded, known)


def test_pfenet_sees_how_sure_the_network_is() -> None:
    logits = torch.tensor([[-40.0, 20.0]])  # between the two a pixel is background up to two thirds of the way
    truth = torch.ones(2, 32, dtype=torch.bool)
    assert scored([logits], truth, "pfenet").inter_fg == 2 * 11
    assert scored([logits / 40], truth, "pfenet").inter_fg == 2 * 11, "the same at every scale"


def test_the_square_of_pfenet_is_that_of_its_network_input() -> None:
    logits = torch.linspace(-1, 1, 8).repeat(8, 1)  # of 8 columns in a square of 9: the last one is padding
    large = F.interpolate(
        F.pad(logits[None, None], (0, 1, 0, 1), mode="replicate"), size=(40, 40), align_corners=True, mode="bilinear"
    )[0, 0]
    truth = torch.zeros(40, 40, dtype=torch.bool)
    score = scored([logits], truth, "pfenet", side=9)
    assert score.union_fg == int((large > 0).sum()) != scored([logits], truth, "pfenet").union_fg


def test_hsnet_counts_at_the_network_size_and_lets_shots_vote() -> None:
    truth = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]).bool()
    unknown = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]).bool()
    first, second = torch.tensor([[0.9, 0.9], [0.1, 0.1]]), torch.tensor([[0.9, 0.1], [0.9, 0.1]])
    third = torch.full((2, 2), 0.1)
    # Votes 2, 1, 1, 0: half of the highest count is the object. Truth 1, 0, 0, unknown.
    first, second, third = (maps.logit() for maps in (first, second, third))
    score = scored([first, second, third], truth, "hsnet", unknown)
    assert numbers(score) == (0, 1, 2, 3)
    none = scored([third, third], truth, "hsnet")
    assert (none.inter_fg, none.union_fg) == (0, 1), "no vote at all is background"


def test_uniref_counts_unknown_pixels_as_background() -> None:
    truth, unknown = torch.zeros(4, 4, dtype=torch.bool), torch.ones(4, 4, dtype=torch.bool)
    score = scored([torch.full((2, 2), 2.0)], truth, "uniref", unknown)
    assert (score.inter_fg, score.union_fg) == (0, 16)
