from __future__ import annotations

import json
from dataclasses import FrozenInstanceError

import pytest
import torch

from episodes import Clip, ClipSpec, Episode, EpisodeSpec, Reference

FRAMES = torch.zeros(2, 3, 4, 5, dtype=torch.uint8)
MASKS = torch.ones(2, 8, 10, dtype=torch.bool)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"frames": torch.zeros(3, 4, 5)}, "frames must be"),
        ({"frames": torch.zeros(0, 3, 4, 5)}, "frames must be"),
        ({"frames": torch.zeros(2, 4, 4, 5)}, "frames must be"),
        ({"masks": MASKS[:1]}, "masks must be"),
        ({"masks": MASKS.float()}, "masks must be bool"),
        ({"boxes": torch.zeros(2, 5)}, "boxes must be"),
        ({"valid": torch.ones(3)}, "valid must be"),
        ({"frame_names": ("a",)}, "1 frame names for 2 frames"),
    ],
)
def test_shapes_are_checked(wrong, message) -> None:
    with pytest.raises(ValueError, match=message):
        Clip(**{"frames": FRAMES, "masks": MASKS, "video": "v", **wrong})


def test_a_clip_is_frozen_and_knows_its_size() -> None:
    clip = Clip(FRAMES, MASKS)
    assert clip.size == (4, 5)
    with pytest.raises(FrozenInstanceError):
        clip.video = "other"  # type: ignore[misc]


def test_a_reference_needs_something_to_go_by() -> None:
    with pytest.raises(ValueError, match="expression, at least one support clip, or both"):
        Reference()
    with pytest.raises(ValueError, match="expression of a reference is empty"):
        Reference("  ")
    with pytest.raises(ValueError, match="support 0 .* has no masks"):
        Reference("a cat", (Clip(FRAMES, video="v"),))
    assert Reference(supports=(Clip(FRAMES, MASKS),)).expression is None


def spec() -> EpisodeSpec:
    clip = ClipSpec("v", 1, ("0", "1"), "the cat", "3")
    return EpisodeSpec("b", 1, "test", 0, 4, 25, "cat", (clip,), (clip, clip))


def test_a_spec_survives_json() -> None:
    assert EpisodeSpec.from_json(json.loads(json.dumps(spec().to_json()))) == spec()
    assert spec().shots == 1


def test_an_episode_pairs_the_supports_with_each_expression() -> None:
    queries = (Clip(FRAMES, expression="a"), Clip(FRAMES, expression="b"))
    episode = Episode(spec(), (Clip(FRAMES, MASKS),), queries)
    assert [r.expression for r in episode.references] == ["a", "b"]
    with pytest.raises(ValueError, match="at least one query"):
        Episode(spec(), (), ())
    with pytest.raises(ValueError, match="is empty"):
        Episode(spec(), (), (Clip(FRAMES, expression=" "),))
