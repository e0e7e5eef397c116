"""The criterion of UniRef++ against a straightforward way of writing it, on random detections."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import generalized_box_iou

from fewshot.losses.boxes import to_corners
from fewshot.losses.boxinst import colour_similarity, pairwise_loss, projection_loss
from fewshot.losses.segmentation import dice_loss
from fewshot.losses.sim_ota import sim_ota
from fewshot.nn.outputs import Prediction
from fewshot.systems.uniref.losses import WEIGHTS, UniRefCriterion, match_layer, weights_of
from fewshot.systems.uniref.targets import ImageTargets, at_stride, targets_of
from fewshot.systems.uniref.weak_masks import WeakMasks
from tests.fewshot.systems.test_uniref import tiny_uniref, without_words
from tests.fewshot.tiny import clips, predicted

QUERIES, TOKENS, CLASSES, LAYERS, SIDE, STRIDE = 40, 60, 7, 3, 32, 4


class Scene:
    """Random detections of `LAYERS` layers, with masks that are leaves of the graph."""

    def __init__(self, objects: tuple[int, ...], seed: int = 0) -> None:
        g = torch.Generator().manual_seed(seed)
        n, cells = len(objects), SIDE // STRIDE

        def boxes(*shape: int) -> Tensor:
            return torch.cat([torch.rand(*shape, 2, generator=g), torch.rand(*shape, 2, generator=g) * 0.4 + 0.1], -1)

        self.logits = torch.randn(LAYERS, n, QUERIES, CLASSES, generator=g).requires_grad_()
        self.boxes = boxes(LAYERS, n, QUERIES).requires_grad_()
        self.masks = torch.randn(LAYERS, n, QUERIES, cells, cells, generator=g).requires_grad_()
        self.proposals = (torch.randn(n, TOKENS, CLASSES, generator=g).requires_grad_(), boxes(n, TOKENS))
        self.targets = [
            ImageTargets(
                torch.randint(CLASSES, (m,), generator=g),
                boxes(m),
                (torch.rand(m, SIDE, SIDE, generator=g) > 0.5).float(),
            )
            for m in objects
        ]

    def masks_of(self, layer: int, images: Tensor, queries: Tensor) -> Tensor:
        return self.masks[layer, images, queries]

    def given(self) -> tuple:
        layers = list(zip(self.logits, self.boxes, strict=True))
        return layers, self.proposals, self.targets, self.masks_of, STRIDE


def focal(logits: Tensor, truth: Tensor) -> Tensor:
    p = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    alpha = 0.25 * truth + 0.75 * (1 - truth)
    return alpha * (1 - (p * truth + (1 - p) * (1 - truth))) ** 2 * entropy


def slow_terms(logits: Tensor, boxes: Tensor, masks: Tensor | None, targets: list[ImageTargets]) -> dict[str, float]:
    """One layer, pair by pair; without masks the layer is that of the proposals."""
    sums: dict[str, float] = {}
    count = 0
    for n, t in enumerate(targets):
        if masks is None:
            pairs = best_permutation(logits[n], boxes[n], t)
            labels = torch.zeros_like(t.labels)
        else:
            pairs = list(zip(*(x.tolist() for x in sim_ota(logits[n], boxes[n], t.labels, t.boxes)), strict=True))
            labels = t.labels
        truth = torch.zeros_like(logits[n])
        for q, m in pairs:
            truth[q, labels[m]] = 1.0
            found = {
                "loss_bbox": (boxes[n, q] - t.boxes[m]).abs().sum(),
                "loss_giou": 1 - generalized_box_iou(to_corners(boxes[n, q])[None], to_corners(t.boxes[m])[None])[0, 0],
            }
            if masks is not None:
                mask, sampled = masks[n, q].flatten(), at_stride(t.masks[m], STRIDE).flatten()
                found["loss_mask"], found["loss_dice"] = focal(mask, sampled).mean(), dice_loss(mask, sampled)
            for name, value in found.items():
                sums[name] = sums.get(name, 0.0) + value.item()
        sums["loss_ce"] = sums.get("loss_ce", 0.0) + float(focal(logits[n], truth).sum())
        count += len(pairs)
    return {name: value / count for name, value in sums.items()}


def best_permutation(logits: Tensor, boxes: Tensor, t: ImageTargets) -> list[tuple[int, int]]:
    """The cheapest assignment of at most two objects, by trying them all."""
    p = logits[:, 0].sigmoid()
    score = -0.25 * (1 - p) ** 2 * (p + 1e-8).log() + 0.75 * p**2 * (1 - p + 1e-8).log()
    distance = (boxes[:, None] - t.boxes).abs().sum(-1)
    cost = 2 * score[:, None] + 5 * distance - 2 * generalized_box_iou(to_corners(boxes), to_corners(t.boxes))
    if len(t) < 2:
        return [(int(cost[:, m].argmin()), m) for m in range(len(t))]
    pairs = [(a, b) for a in range(TOKENS) for b in range(TOKENS) if a != b]
    a, b = min(pairs, key=lambda ab: float(cost[ab[0], 0] + cost[ab[1], 1]))
    return [(a, 0), (b, 1)]


@pytest.mark.parametrize("objects", [(1,), (2, 1, 0), (1, 1)])
def test_terms_are_the_plain_sums(objects: tuple[int, ...]) -> None:
    scene = Scene(objects)
    losses = UniRefCriterion()(*scene.given())
    order = [(LAYERS - 1, ""), *((k, f"_{k}") for k in range(LAYERS - 1))]
    expected = {
        f"{name}{ending}": value
        for layer, ending in order
        for name, value in slow_terms(
            scene.logits[layer], scene.boxes[layer], scene.masks[layer], scene.targets
        ).items()
    }
    enc = slow_terms(*scene.proposals, None, scene.targets)
    expected.update({f"{name}_enc": value for name, value in enc.items()})
    assert {name: value.item() for name, value in losses.terms.items()} == pytest.approx(expected, rel=1e-4)
    weights = {"loss_ce": 2, "loss_bbox": 5, "loss_giou": 2, "loss_mask": 2, "loss_dice": 5}
    total = sum(weights["_".join(name.split("_")[:2])] * value for name, value in expected.items())
    assert losses.total.item() == pytest.approx(total, rel=1e-4)


def test_an_image_without_objects_teaches_an_empty_mask_where_asked_for() -> None:
    scene = Scene((1, 0, 2))
    plain, more = (UniRefCriterion(empty_masks=empty)(*scene.given()) for empty in (False, True))
    for layer, ending in ((LAYERS - 1, ""), (0, "_0")):
        best = int(scene.logits[layer][1].max(-1).values.argmax())
        mask, nothing = scene.masks[layer][1, best].flatten(), torch.zeros_like(scene.masks[layer][1, best].flatten())
        pairs = len(match_layer(scene.logits[layer], scene.boxes[layer], scene.targets)[0])
        for name, term in (("loss_mask", focal(mask, nothing).mean()), ("loss_dice", dice_loss(mask, nothing))):
            wanted = (plain.terms[name + ending] * pairs + term) / (pairs + 1)
            torch.testing.assert_close(more.terms[name + ending], wanted)
        assert torch.equal(plain.terms["loss_ce" + ending], more.terms["loss_ce" + ending])
    nobody = Scene((0, 0))
    assert UniRefCriterion(empty_masks=True)(*nobody.given()).terms["loss_mask"] > 0


def test_many_objects_of_many_classes_are_matched_within_their_image() -> None:
    scene = Scene((9, 4))
    losses = UniRefCriterion()(*scene.given())
    for layer, ending in ((2, ""), (0, "_0")):
        expected = slow_terms(scene.logits[layer], scene.boxes[layer], scene.masks[layer], scene.targets)
        got = {name: float(losses.terms[name + ending]) for name in expected}
        assert got == pytest.approx(expected, rel=1e-4)


def test_auxiliary_mask_losses_are_added_with_weight_one() -> None:
    scene = Scene((1, 1))
    plain, more = (UniRefCriterion(mask_aux=aux)(*scene.given()) for aux in (False, True))
    added = [name for name in more.terms if name not in plain.terms]
    assert sorted(added) == sorted(f"loss_mask_{x}{end}" for x in ("cls", "iou") for end in ("", "_0", "_1"))
    torch.testing.assert_close(more.total, plain.total + sum(more.terms[name] for name in added))


def test_weak_masks_take_the_place_of_mask_losses_and_grow_from_call_to_call() -> None:
    scene = Scene((2, 3))
    g = torch.Generator().manual_seed(1)
    colours = torch.rand(2, 3, SIDE // STRIDE, SIDE // STRIDE, generator=g)
    similarity = colour_similarity(colours, torch.ones(2, SIDE // STRIDE, SIDE // STRIDE, dtype=torch.bool))
    terms = UniRefCriterion()(*scene.given(), WeakMasks(similarity, calls=30, warmup=100)).terms
    assert not [name for name in terms if name.startswith(("loss_mask", "loss_dice"))]
    for layer, ending, share in ((2, "", 0.31), (0, "_0", 0.32), (1, "_1", 0.33)):
        logits, boxes, images = [], [], []
        for n, t in enumerate(scene.targets):
            queries, objects = sim_ota(scene.logits[layer, n], scene.boxes[layer, n], t.labels, t.boxes)
            logits.append(scene.masks[layer, n, queries])
            boxes.append(at_stride(t.masks[objects], STRIDE))
            images += [n] * len(queries)
        masks, filled = torch.cat(logits), torch.cat(boxes)
        torch.testing.assert_close(terms["loss_prj" + ending], projection_loss(masks, filled).mean())
        expected = share * pairwise_loss(masks, similarity[images], filled)
        torch.testing.assert_close(terms["loss_pairwise" + ending], expected)


def test_weak_masks_use_no_more_pairs_than_they_may() -> None:
    scene = Scene((9, 9))
    used: list[int] = []
    similarity = torch.ones(2, 8, SIDE // STRIDE, SIDE // STRIDE)
    torch.manual_seed(0)
    losses = UniRefCriterion()(*scene.given(), WeakMasks(similarity, most=5))
    losses.terms["loss_prj"].backward()
    assert scene.masks.grad is not None
    used.append(int(scene.masks.grad[-1].flatten(2).abs().sum(-1).gt(0).sum()))
    assert used == [5]


@pytest.mark.parametrize("weak", [False, True])
def test_a_batch_without_objects_has_no_loss_and_a_gradient_of_zero(weak: bool) -> None:
    scene = Scene((0, 0))
    similarity = WeakMasks(torch.ones(2, 8, SIDE // STRIDE, SIDE // STRIDE)) if weak else None
    losses = UniRefCriterion(mask_aux=True)(*scene.given(), similarity)
    losses.total.backward()
    assert losses.total == 0 and all(value == 0 for value in losses.terms.values())
    assert scene.logits.grad is not None and not scene.logits.grad.any()


def test_an_image_without_objects_teaches_that_nothing_is_there() -> None:
    scene = Scene((1, 0))
    UniRefCriterion()(*scene.given()).total.backward()
    assert scene.logits.grad is not None and (scene.logits.grad[:, 1] > 0).all()
    assert scene.boxes.grad is not None and not scene.boxes.grad[:, 1].any()


def test_targets_of_clips() -> None:
    batch = clips(2, height=62, width=60)
    padded = replace(
        batch,
        frames=F.pad(batch.frames, (0, 4, 0, 2)),
        masks=(batch.masks[0], batch.masks[1] & torch.tensor([True, False])[:, None, None]),
        ignore=(None, torch.ones_like(batch.masks[1])),  # unknown pixels are background
    )
    targets = targets_of(padded)
    assert [len(t) for t in targets] == [1, 1, 1, 0]
    assert targets[0].masks.shape == (1, 64, 64) and targets[3].masks.shape == (0, 64, 64)
    # rows 8..39 and columns 16..47 of 62 x 60 pixels, edges included
    torch.testing.assert_close(targets[0].boxes, torch.tensor([[32 / 60, 24 / 62, 32 / 60, 32 / 62]]))
    assert float(targets[0].masks.sum()) == 32 * 32 and targets[0].labels.tolist() == [0]
    assert torch.equal(targets[2].masks[0, :62, :60], batch.masks[1][0].float())


def test_targets_need_masks_of_the_frames_size() -> None:
    batch = clips(1)
    with pytest.raises(ValueError, match=r"query clip 0 has no masks .* training needs equal sizes"):
        targets_of(replace(batch, masks=(None,)))
    with pytest.raises(ValueError, match=r"masks of \(60, 64\)"):
        targets_of(replace(batch, masks=(batch.masks[0][:, :60],)))


@pytest.mark.parametrize(("stride", "side"), [(4, 16), (1, 64)])
def test_masks_that_words_refer_to_are_learnt_at_a_stride_of_their_own(
    stride: int, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch = tiny_uniref(mask_stride=1, word_stride=stride), clips(2)
    sizes: list[tuple[int, ...]] = []
    computed = model.masks_of

    def masks_of(*given: object, **options: object) -> Tensor:
        masks = computed(*given, **options)
        sizes.append(tuple(masks.shape[1:]))
        return masks

    monkeypatch.setattr(model, "masks_of", masks_of)
    for queries, size in ((batch, (side, side)), (without_words(batch), (64, 64))):
        sizes.clear()
        model.losses(predicted(model, queries), queries)
        assert set(sizes) == {size}


def test_the_weight_of_the_boxes_is_a_factor_on_their_terms_alone() -> None:
    assert weights_of(1.0) == WEIGHTS
    light = weights_of(0.1)
    assert {name for name in WEIGHTS if light[name] != WEIGHTS[name]} == {"loss_bbox", "loss_giou"}
    model, batch = tiny_uniref(), clips(2)
    found = predicted(model, batch)
    whole = model.losses(found, batch)
    model.criterion = UniRefCriterion(weights=weights_of(0.0))
    rest = model.losses(found, batch)
    boxes = sum(
        WEIGHTS[key.split("_")[0] + "_" + key.split("_")[1]] * value
        for key, value in whole.terms.items()
        if key.startswith(("loss_bbox", "loss_giou"))
    )
    torch.testing.assert_close(rest.total, whole.total - boxes)


def test_micro_batches_count_by_their_visible_frames() -> None:
    model, batch = tiny_uniref(), clips(2)
    found = predicted(model, batch)
    alone, half = model.losses(found, batch), model.losses(found, batch, num_frames=8.0)  # 4 of 8 frames of the step
    torch.testing.assert_close(half.total, alone.total / 2)
    torch.testing.assert_close(half.terms["loss_mask"], alone.terms["loss_mask"] / 2)


def test_the_losses_are_for_its_own_predictions() -> None:
    model, batch = tiny_uniref(), clips(1)
    with pytest.raises(TypeError, match="its own predictions, got Prediction"):
        model.losses(Prediction(torch.zeros(1, 2, 1, 16, 16)), batch)
