"""Pretraining of UniRef++ on boxes: a tiny model, several objects per image, 365 classes, against plain loops."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from episodes.batch import ClipBatch
from episodes.clip import Objects
from episodes.transforms.clips import MEAN, STD
from fewshot.losses.boxinst import rgb_to_lab
from fewshot.nn.backbones import TinyBackbone
from fewshot.systems.uniref.detection import Detection
from fewshot.systems.uniref.model import Sizes, UniRef
from fewshot.systems.uniref.targets import targets_of
from fewshot.systems.uniref.weak_masks import similarity_of
from tests.fewshot.losses.test_sim_ota import slow_claims, slow_cost
from tests.fewshot.tiny import predicted

SIZES = Sizes(
    hidden_dim=32,
    heads=4,
    encoder_layers=1,
    decoder_layers=2,
    feedforward_dim=48,
    num_queries=30,
    num_classes=365,
)
OBJECTS = (
    (
        [[4.0, 6.0, 40.0, 50.5], [20.3, 10.0, 63.9, 30.0], [2.0, 2.0, 9.0, 9.0], [30.0, 30.0, 60.0, 60.0]],
        [0, 364, 7, 7],
    ),
    ([[10.0, 10.0, 50.0, 40.0]], [200]),
)
OFFSETS = [(y, x) for y in (-2, 0, 2) for x in (-2, 0, 2) if (y, x) != (0, 0)]


def images() -> ClipBatch:
    """An image of 64 x 64 with four objects and one of 56 x 60 with one, of flat patches, on disk twice as large."""
    g = torch.Generator().manual_seed(3)
    patches = torch.rand(2, 3, 3, 3, generator=g).repeat_interleave(22, 2).repeat_interleave(22, 3)[..., :64, :64]
    patches = (patches + 0.02 * torch.rand(2, 3, 64, 64, generator=g)).clamp(0, 1)
    frames = (patches - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    padding = torch.zeros(2, 64, 64, dtype=torch.bool)
    padding[1, 56:], padding[1, :, 60:] = True, True
    return ClipBatch(
        frames=(frames * ~padding[:, None])[:, None],
        padding=padding,
        sizes=torch.tensor([[64, 64], [56, 60]]),
        expressions=(None, None),
        masks=(None, None),
        valid=torch.ones(2, 1, dtype=torch.bool),
        objects=tuple(Objects.of_image(torch.tensor(boxes), torch.tensor(labels)) for boxes, labels in OBJECTS),
        original_sizes=((128, 128), (112, 120)),
    )


def model(box_supervision: bool = True, exchange: bool = True) -> UniRef:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        system = UniRef(
            TinyBackbone(8),
            None,
            None,
            SIZES,
            freeze_backbone="none",
            box_supervision=box_supervision,
            exchange_red_and_blue=exchange,
        ).train()
        for head in system.transformer.box_heads:  # boxes of many kinds
            torch.nn.init.normal_(head.layers[-1].weight, std=0.3)
        return system


def layer_pairs(found: Detection, layer: int, batch: ClipBatch) -> list[tuple[int, int, int]]:
    """Image, query, object of a layer, by the loops."""
    pairs = []
    for n, t in enumerate(targets_of(batch)):
        given = (found.class_logits[layer, n], found.all_boxes[layer, n], t.labels, t.boxes)
        claims = slow_claims(*slow_cost(*(x.tolist() for x in given)))
        pairs += [(n, q, c[0]) for q, c in enumerate(claims) if c]
    return pairs


def slow_weak_terms(
    system: UniRef, found: Detection, layer: int, batch: ClipBatch, swapped: bool
) -> tuple[float, float]:
    pairs = layer_pairs(found, layer, batch)
    colours = batch.frames[:, 0] * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]
    cells = F.avg_pool2d(colours * ~batch.padding[:, None], 4)
    lab = rgb_to_lab(cells[:, [2, 1, 0]] if swapped else cells)
    projection, entropy, weight = 0.0, 0.0, 0
    for n, q, m in pairs:
        logits = system.masks_of(found, layer, torch.tensor([n]), torch.tensor([q]))[0]
        p, size = logits.sigmoid().tolist(), range(16)
        x0, y0, x1, y1 = OBJECTS[n][0][m]
        inside = [
            [int(x0) <= 4 * x + 2 < int(x1 + 1) and int(y0) <= 4 * y + 2 < int(y1 + 1) for x in size] for y in size
        ]
        projection += shadows(p, inside)
        lowest = (64, 56)[n] - 5  # ten rows of the image on disk, which is twice as large
        for y in size:
            for x in size:
                for dy, dx in OFFSETS:
                    v, u = y + dy, x + dx
                    known = v in size and u in size and 4 * v + 2 < lowest and 4 * u + 2 < (64, 60)[n]
                    if inside[y][x] and known and similar(lab[n, :, y, x], lab[n, :, v, u]):
                        entropy -= math.log(p[y][x] * p[v][u] + (1 - p[y][x]) * (1 - p[v][u]))
                        weight += 1
    return projection / len(pairs), entropy / max(weight, 1)


def similar(a: Tensor, b: Tensor) -> bool:
    return math.exp(-0.5 * float((a - b).norm())) >= 0.3


def shadows(p: list[list[float]], inside: list[list[bool]]) -> float:
    total = 0.0
    for axis in (0, 1):
        lines = [(p, inside), (list(zip(*p, strict=True)), list(zip(*inside, strict=True)))][axis]
        shadow, truth = [max(line) for line in lines[0]], [float(max(line)) for line in lines[1]]
        inter = sum(a * b for a, b in zip(shadow, truth, strict=True))
        total += 1 - 2 * inter / (sum(a * a for a in shadow) + sum(b * b for b in truth) + 1e-5)
    return total


@pytest.mark.parametrize("exchange", [False, True])
def test_terms_are_those_of_the_loops(exchange: bool) -> None:
    system, batch = model(exchange=exchange), images()
    found = predicted(system, batch)
    losses = system.losses(found, batch)
    assert {name.rsplit("_", 1)[0] for name in losses.terms if name.startswith("loss_p")} >= {
        "loss_prj",
        "loss_pairwise",
    }
    for layer, ending, call in ((1, "", 1), (0, "_0", 2)):
        pairs = layer_pairs(found, layer, batch)
        assert len({(n, m) for n, _, m in pairs}) == 5  # every object has a query
        truth = torch.zeros_like(found.class_logits[layer])
        distance = 0.0
        for n, q, m in pairs:
            truth[n, q, OBJECTS[n][1][m]] = 1
            distance += (found.all_boxes[layer, n, q] - targets_of(batch)[n].boxes[m]).abs().sum().item()
        p = found.class_logits[layer].sigmoid()
        focal = -truth * 0.25 * (1 - p) ** 2 * p.log() - (1 - truth) * 0.75 * p**2 * (1 - p).log()
        projection, pairwise = slow_weak_terms(system, found, layer, batch, exchange)
        expected = {
            "loss_ce": float(focal.sum()) / len(pairs),
            "loss_bbox": distance / len(pairs),
            "loss_prj": projection,
            "loss_pairwise": pairwise * call / 10_000,
        }
        got = {name: losses.terms[name + ending].item() for name in expected}
        assert got == pytest.approx(expected, rel=1e-4)
        assert expected["loss_pairwise"] > 0


def test_the_weight_of_neighbours_grows_with_every_layer_of_every_batch() -> None:
    system, batch = model(), images()
    first, second = (system.losses(predicted(system, batch), batch).terms["loss_pairwise"] for _ in range(2))
    torch.testing.assert_close(second / first, torch.tensor(3.0))  # call 1, then call 3
    assert int(system.state_dict()["mask_calls"]) == 4
    assert "mask_calls" not in model(box_supervision=False).state_dict()


def test_boxes_alone_need_images_with_all_objects() -> None:
    system, batch = model(), images()
    found = predicted(system, batch)
    single = replace(batch, objects=(), masks=(torch.ones(1, 64, 64).bool(), torch.ones(1, 56, 60).bool()))
    with pytest.raises(ValueError, match="boxes of all objects"):
        system.losses(found, single)


def test_images_without_objects_and_without_known_neighbours() -> None:
    batch = images()
    empty = Objects.of_image(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))
    nothing = replace(batch, objects=(empty, empty), original_sizes=((64, 64), (64, 64)))
    system = model()
    losses = system.losses(predicted(system, nothing), nothing)
    losses.total.backward()
    assert losses.total == 0
    assert not similarity_of(replace(batch, padding=torch.ones_like(batch.padding)), 4).any()


def test_targets_with_masks_take_boxes_from_them() -> None:
    batch = images()
    masks = torch.zeros(1, 56, 60, dtype=torch.bool)
    masks[0, 10:20, 30:60] = True
    given = Objects.of_image(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([3]), masks)
    target = targets_of(replace(batch, objects=(batch.objects[0], given)))[1]
    torch.testing.assert_close(target.boxes, torch.tensor([[45 / 60, 15 / 56, 30 / 60, 10 / 56]]))
    assert target.masks.shape == (1, 64, 64) and target.labels.tolist() == [3]
    with pytest.raises(ValueError, match=r"masks of \(56, 60\) for a frame of \(64, 64\)"):
        targets_of(replace(batch, objects=(given, given)))


def test_each_frame_has_the_objects_that_it_shows_as_targets() -> None:
    batch = images()
    boxes = torch.tensor([[8.0, 8, 24, 40], [16.0, 0, 48, 16]])
    seen = torch.tensor([[True, False], [True, True]])
    pair = Objects(
        torch.tensor([1, 2]), torch.tensor([0, 3]), None, boxes[:, None].repeat(1, 2, 1), seen, exhaustive=True
    )
    clips = replace(batch, frames=batch.frames.repeat(1, 2, 1, 1, 1), objects=(pair, pair[torch.tensor([0])]))
    found = targets_of(clips)
    assert [t.labels.tolist() for t in found] == [[0, 3], [3], [0], []]
    torch.testing.assert_close(found[1].boxes, torch.tensor([[0.5, 0.125, 0.5, 0.25]]))
    with pytest.raises(ValueError, match="boxes of single images, got clips of 2"):
        similarity_of(clips, 4)
    unknown = replace(pair.in_frame(0), boxes=None)
    with pytest.raises(ValueError, match="neither masks nor boxes"):
        targets_of(replace(batch, objects=(unknown, unknown)))


def test_weak_masks_need_the_sizes_on_disk() -> None:
    for sizes in ((), ((128, 128), None)):
        with pytest.raises(ValueError, match="sizes of the images on disk"):
            similarity_of(replace(images(), original_sizes=sizes), 4)
