from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace

import pytest
import torch

from episodes import Clip, ClipSpec, Episode, EpisodeSpec, Objects, Reference

FRAMES = torch.zeros(2, 3, 4, 5, dtype=torch.uint8)
MASKS = torch.ones(2, 8, 10, dtype=torch.bool)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"frames": torch.zeros(3, 4, 5)}, "frames must be"),
        ({"frames": torch.zeros(0, 3, 4, 5)}, "frames must be"),
        ({"frames": torch.zeros(2, 4, 4, 5)}, "frames must be"),
        ({"objects": Objects.one(MASKS[:1])}, "'v': objects of 1 frames for a clip of 2"),
        ({"ignore": MASKS[..., 1:]}, "ignore must have the shape of masks"),
        ({"ignore": MASKS, "objects": None}, "ignore must have the shape of masks"),
        ({"frame_names": ("a",)}, "1 frame names for 2 frames"),
    ],
)
def test_shapes_are_checked(wrong, message) -> None:
    with pytest.raises(ValueError, match=message):
        Clip(**{"frames": FRAMES, "objects": Objects.one(MASKS), "video": "v", **wrong})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"ids": torch.tensor(1)}, r"ids must be \(0,\), got \(\)"),
        ({"labels": torch.zeros(2)}, r"labels must be \(3,\), got \(2,\)"),
        ({"masks": MASKS}, r"masks must be \(3, T, H, W\), got \(2, 8, 10\)"),
        ({"masks": MASKS.expand(3, -1, -1, -1).float()}, "masks must be bool, got torch.float32"),
        ({"boxes": torch.zeros(3, 2, 5)}, r"boxes must be \(3, T, 4\), got \(3, 2, 5\)"),
        ({"valid": torch.ones(3, 2)}, "valid must be bool, got torch.float32"),
        ({"valid": torch.ones(3, 1, dtype=torch.bool)}, "as many frames as one another, got .*'boxes': 2, 'valid': 1"),
    ],
)
def test_objects_are_checked(wrong, message) -> None:
    with pytest.raises(ValueError, match=message):
        Objects(**{"ids": torch.arange(3), "labels": torch.zeros(3), "boxes": torch.zeros(3, 2, 4), **wrong})


def test_a_clip_is_frozen_and_knows_its_size() -> None:
    clip = Clip(FRAMES, Objects.one(MASKS))
    assert clip.size == (4, 5)
    with pytest.raises(FrozenInstanceError):
        clip.video = "other"  # type: ignore[misc]


def several(**changes: object) -> Objects:
    """Three objects in two frames: seen in both, in the second only, in none."""
    seen = torch.tensor([[True, True], [False, True], [False, False]])
    masks = seen[:, :, None, None] & torch.ones(3, 2, 4, 5, dtype=torch.bool)
    boxes = torch.arange(24.0).view(3, 2, 4)
    return replace(Objects(torch.tensor([4, 5, 9]), torch.tensor([1, 0, 1]), masks, boxes, seen), **changes)


def test_the_single_object_is_shown_without_its_axis() -> None:
    boxes, valid = torch.rand(2, 4), torch.tensor([True, False])
    clip = Clip(FRAMES, Objects.one(MASKS, boxes, valid, object_id=7))
    assert clip.objects.ids.tolist() == [7] and clip.objects.labels.tolist() == [0] and clip.objects.length == 2
    assert torch.equal(clip.masks, MASKS) and torch.equal(clip.boxes, boxes) and torch.equal(clip.valid, valid)
    assert not clip.exhaustive and clip.masks.data_ptr() == MASKS.data_ptr(), "a view, not a copy"
    other = clip.with_masks(~MASKS)
    assert torch.equal(other.masks, ~MASKS) and torch.equal(other.boxes, boxes) and other.objects.ids.tolist() == [7]
    assert clip.with_masks(None).masks is None and clip.with_masks(None).valid is not None
    unknown = Clip(FRAMES)
    assert unknown.masks is None and unknown.boxes is None and unknown.valid is None and not unknown.exhaustive
    assert torch.equal(unknown.with_masks(MASKS).masks, MASKS) and Objects.one().length is None


@pytest.mark.parametrize("name", ["masks", "boxes", "valid"])
def test_several_objects_are_not_taken_for_one(name) -> None:
    clip = Clip(FRAMES, several(), video="v")
    with pytest.raises(ValueError, match=f"'v' has not one but 3 objects: their {name} are in clip.objects.{name}"):
        getattr(clip, name)
    with pytest.raises(ValueError, match="not one but 3 objects"):
        clip.with_masks(MASKS)


def test_of_all_objects_none_is_meant() -> None:
    for count in (0, 1, 3):
        objects = several(exhaustive=True)[torch.arange(count)]
        clip = Clip(FRAMES, objects, video="v")
        assert clip.exhaustive and clip.masks is None and clip.boxes is None and len(clip.objects) == count
        assert clip.valid.tolist() == [count > 0, count > 0], "any of them"
        with pytest.raises(ValueError, match=f"has all of its {count} objects"):
            clip.with_masks(MASKS)


def test_objects_are_selected_by_what_frames_show() -> None:
    objects = several()
    assert objects.visible().ids.tolist() == [4, 5] and objects.visible().masks.shape == (2, 2, 4, 5)
    first, second = objects.in_frame(0), objects.in_frame(1)
    assert first.ids.tolist() == [4] and second.ids.tolist() == [4, 5] and second.labels.tolist() == [1, 0]
    assert first.length == second.length == 1 and second.boxes[1, 0].tolist() == [12, 13, 14, 15]
    assert len(several(valid=None).visible()) == 3 and len(several(masks=None)[torch.tensor([2])]) == 1
    assert torch.equal(objects.to("cpu").masks, objects.masks) and objects.to("meta").boxes.device.type == "meta"


def test_all_objects_of_an_image_are_numbered() -> None:
    masks = torch.ones(2, 4, 5, dtype=torch.bool)
    objects = Objects.of_image(torch.ones(2, 4), torch.tensor([3, 1]), masks)
    assert objects.ids.tolist() == [1, 2] and objects.exhaustive and objects.valid.tolist() == [[True], [True]]
    assert objects.masks.shape == (2, 1, 4, 5) and objects.boxes.shape == (2, 1, 4)
    with pytest.raises(ValueError, match=r"boxes must be \(2, T, 4\), got \(3, 1, 4\)"):
        Objects.of_image(torch.ones(3, 4), torch.tensor([3, 1]))


def test_a_reference_needs_something_to_go_by() -> None:
    with pytest.raises(ValueError, match="expression, at least one support clip, or both"):
        Reference()
    with pytest.raises(ValueError, match="expression of a reference is empty"):
        Reference("  ")
    with pytest.raises(ValueError, match="support 0 .* has no masks"):
        Reference("a cat", (Clip(FRAMES, video="v"),))
    assert Reference(supports=(Clip(FRAMES, Objects.one(MASKS)),)).expression is None


def spec() -> EpisodeSpec:
    clip = ClipSpec("v", 1, ("0", "1"), "the cat", "3")
    return EpisodeSpec("b", 1, "test", 0, 4, 25, "cat", (clip,), (clip, clip))


def test_a_spec_survives_json() -> None:
    assert EpisodeSpec.from_json(json.loads(json.dumps(spec().to_json()))) == spec()
    assert spec().shots == 1


def test_an_episode_pairs_the_supports_with_each_expression() -> None:
    queries = (Clip(FRAMES, expression="a"), Clip(FRAMES, expression="b"))
    episode = Episode(spec(), (Clip(FRAMES, Objects.one(MASKS)),), queries)
    assert [r.expression for r in episode.references] == ["a", "b"]
    with pytest.raises(ValueError, match="at least one query"):
        Episode(spec(), (), ())
    with pytest.raises(ValueError, match="is empty"):
        Episode(spec(), (), (Clip(FRAMES, expression=" "),))
