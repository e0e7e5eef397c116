"""One part, no holes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from fewshot.inference.components import largest_components, without_holes
from tests.fewshot.inference.saved import tiny
from tests.fewshot.inference.squares import BOTH, RED_SUPPORT


def masks(*rows: str) -> torch.Tensor:
    """A mask `(1, H, W)` from rows of `#` and `.`."""
    return torch.tensor([[[letter == "#" for letter in row] for row in rows]])


def test_the_largest_part_stays_and_corners_connect() -> None:
    found = largest_components(masks("#...##", ".#....", "..#..#"))
    assert torch.equal(found, masks("#.....", ".#....", "..#..."))
    assert torch.equal(largest_components(masks("...", "...")), masks("...", "..."))
    assert torch.equal(largest_components(masks("#.#"))[0].sum(), torch.tensor(1))


def test_holes_are_filled_but_bays_are_not() -> None:
    found = without_holes(masks(".###.#.", "##.#.##", ".###...", "..#...#"))
    assert torch.equal(found, masks(".###.#.", "####.##", ".###...", "..#...#"))
    assert torch.equal(without_holes(masks("##", "##")), masks("##", "##"))
    assert torch.equal(without_holes(masks(".#.", "#.#", ".#.")), masks(".#.", "###", ".#."))  # corners are no way out


def test_holes_are_those_of_scipy() -> None:
    noise = np.random.default_rng(0).random((5, 40, 50)) > 0.45
    expected = np.stack([ndimage.binary_fill_holes(mask) for mask in noise])
    assert (expected != noise).any()
    assert torch.equal(without_holes(torch.from_numpy(noise)), torch.from_numpy(expected))


def test_every_frame_is_treated_alone() -> None:
    both = torch.cat([masks("##.#"), masks("#.##")])
    assert torch.equal(largest_components(both), torch.cat([masks("##.."), masks("..##")]))


@pytest.mark.parametrize("tidy", [{"largest_component": True}, {"fill_holes": True}])
def test_the_interface_takes_both_and_the_labels_agree(tidy: dict[str, bool]) -> None:
    model = tiny("prototype")
    plain = model.segment(BOTH, support=[RED_SUPPORT])
    found = model.segment(BOTH, support=[RED_SUPPORT], **tidy)
    change = largest_components if "largest_component" in tidy else without_holes
    assert torch.equal(found.masks[0], change(plain.masks[0]))
    assert torch.equal(found.labels > 0, found.masks[0])
    assert torch.equal(found.scores, plain.scores)
