"""The named protocols of few-shot image segmentation and their cards."""

from __future__ import annotations

import pytest

from benchmarks.protocols import IMAGE_PROTOCOLS, PROTOCOLS, VIDEO_PROTOCOLS, EpisodeRule, get_protocol
from benchmarks.protocols.protocol import NOT_STATED


def test_one_table_for_both_kinds() -> None:
    assert PROTOCOLS == VIDEO_PROTOCOLS | IMAGE_PROTOCOLS
    assert {p.measures for p in VIDEO_PROTOCOLS.values()} == {("J", "F", "J&F")}
    assert {p.measures for p in IMAGE_PROTOCOLS.values()} == {("mIoU", "FB-IoU")}
    with pytest.raises(ValueError, match="Did you mean 'pfenet'"):
        get_protocol("pfnet")


def test_official_episodes() -> None:
    hsnet, pfenet, bam, uniref = (IMAGE_PROTOCOLS[name] for name in ("hsnet", "pfenet", "bam", "uniref"))
    assert hsnet.rule("pascal5i") == hsnet.rule("coco2pascal") == EpisodeRule("list", 1000, 2048)
    assert hsnet.rule("coco20i") == hsnet.rule("coco20i_contiguous") == EpisodeRule("uniform", 1000, 2048)
    assert hsnet.rule("fss1000") == hsnet.rule("folder") == EpisodeRule("each", None)
    assert [pfenet.rule(name) for name in ("pascal5i", "coco20i")] == [
        EpisodeRule("images", 5001, 2048),
        EpisodeRule("images", 20001, 2048),
    ]
    assert [bam.rule(name) for name in ("pascal5i", "coco20i")] == 2 * [EpisodeRule("images", 1000, 2048)]
    assert uniref.rule("fss1000_val") == EpisodeRule("first", None)
    assert (hsnet.seeds, pfenet.seeds, bam.seeds) == ((0,), (321,), (510, 365, 382, 322, 988))


def test_official_choices() -> None:
    table = {
        name: (p.resolution, p.input_rule, p.k_shot, p.averaging, p.ignore, p.drop_novel, p.supports)
        for name, p in IMAGE_PROTOCOLS.items()
    }
    assert table == {
        "hsnet": ("network", "square", "votes", "classes", "left out", False, "repeats"),
        "pfenet": ("square", "pad8", "joint", "classes", "left out", False, "distinct"),
        "bam": ("square", "pad8", "joint", "classes", "left out", True, "distinct"),
        "uniref": ("original", "short", "joint", "images", "background", False, "distinct"),
    }


def test_official_sizes_of_the_network_input() -> None:
    names = ("pascal5i", "coco2pascal", "coco20i", "coco20i_contiguous", "fss1000")
    assert {name: tuple(map(p.size, names)) for name, p in IMAGE_PROTOCOLS.items()} == {
        "hsnet": (400, 400, 400, 400, 400),
        "pfenet": (473, 473, 641, 641, 473),
        "bam": (473, 473, 641, 641, 473),
        "uniref": (480, 480, 480, 480, 480),
    }
    assert "multiples of 8, padded to a square (long side 473)" in IMAGE_PROTOCOLS["bam"].card(size="long side 473")


def test_card_names_every_choice() -> None:
    card = IMAGE_PROTOCOLS["hsnet"].card(
        benchmark="pascal5i", size="400x400", checkpoint="val", shots=5, seeds=(0,), start_weights="r50"
    )
    for text in ("hsnet", "pascal5i", "400x400", "val:", "5 per episode", ">= 0.5", "nearest", "255", "pooled", "r50"):
        assert text in card
    assert "one-shot masks are summed" in card and "1000 episodes" in card and "query i of the fold's list" in card
    assert NOT_STATED not in card and "not class-disjoint" in card


def test_cards_differ_where_the_protocols_do() -> None:
    hsnet, pfenet, bam, uniref = (IMAGE_PROTOCOLS[n].card(benchmark="coco20i", shots=1) for n in IMAGE_PROTOCOLS)
    assert "class, then query image, drawn uniformly" in hsnet and "1000 episodes" in hsnet
    assert "20001 episodes" in pfenet and "kept, as background" in pfenet and "2048 pixels" in pfenet
    assert "one of the test classes that it shows" in pfenet and "may come twice" in hsnet
    assert "dropped if they show a held-out class" in bam and "1000 episodes" in bam
    assert (
        "mean over query images" in uniref and "the same for every seed" in uniref and "count as background" in uniref
    )
    assert "summed" not in hsnet  # one shot does not vote
    assert IMAGE_PROTOCOLS["hsnet"].card().count(NOT_STATED) == 5


def test_another_number_of_episodes_is_told() -> None:
    hsnet, cma = PROTOCOLS["hsnet"], PROTOCOLS["cma"]
    card = hsnet.card(benchmark="pascal5i", episodes=209)
    assert "209 episodes per fold and seed (official: 1000 episodes per fold and seed)" in card
    assert "spread evenly over the classes" in card and "spread" not in hsnet.card(benchmark="coco20i", episodes=9)
    assert "official" not in hsnet.card(benchmark="pascal5i", episodes=1000)
    assert "once through" in hsnet.card(benchmark="fss1000")
    assert "episodes     : 40 per fold and seed" in cma.card(episodes=40) and "40" not in cma.card()


def test_the_card_tells_lists_frozen_episodes_and_official_seeds() -> None:
    pfenet = PROTOCOLS["pfenet"]
    drawn = pfenet.card(benchmark="pascal5i", seeds=(0,), shots=1)
    assert "all that show at least 2048 pixels of the class, by their masks" in drawn and "0 (official: 321)" in drawn
    assert "all that show the class, by their masks" in PROTOCOLS["hsnet"].card(benchmark="fss1000")
    assert "in turn from one generator" in pfenet.card(benchmark="pascal5i", stream=True)
    assert "in turn" not in drawn + pfenet.card(benchmark="pascal5i", stream=True, frozen="list.jsonl")
    assert "official" not in pfenet.card(benchmark="pascal5i", seeds=(321,), shots=1)
    assert "official" not in PROTOCOLS["bam"].card(benchmark="pascal5i", seeds=(322, 365, 382, 510, 988), shots=1)
    frozen = pfenet.card(benchmark="pascal5i", seeds=(0,), shots=1, lists="hsnet", frozen="voc2.jsonl", episodes=8)
    assert "of the lists hsnet" in frozen and "supports     : 1 per episode, frozen in voc2.jsonl" in frozen
    assert "frozen in voc2.jsonl, 8 per fold and seed (official: image i of the fold's list" in frozen


def test_the_card_tells_how_training_episodes_are_drawn_and_that_the_original_does_it_otherwise() -> None:
    hsnet, pfenet = PROTOCOLS["hsnet"], PROTOCOLS["pfenet"]
    told = "; drawn: classes equally often (the original: every image equally often, for one of the classes that it"
    assert told in pfenet.card(benchmark="pascal5i", sampling="balanced")
    assert "(the original: every image equally often for every class" in hsnet.card(
        benchmark="pascal5i", sampling="balanced"
    )
    for card in (
        pfenet.card(benchmark="coco20i", sampling="images"),
        hsnet.card(benchmark="fss1000", sampling="balanced"),
    ):
        assert "; drawn: " in card and "the original" not in card
    assert "drawn: " not in pfenet.card(benchmark="pascal5i"), "of weights that are given it is not known"


def test_only_pascal_has_unknown_pixels() -> None:
    hsnet = PROTOCOLS["hsnet"]
    assert "label 255" in hsnet.card(benchmark="pascal5i") and "label 255" not in hsnet.card(benchmark="coco20i")


def test_scores_of_images_serve_their_own_protocol_only() -> None:
    hsnet, davis = PROTOCOLS["hsnet"], PROTOCOLS["davis"]
    assert [name for name, p in PROTOCOLS.items() if hsnet.serves(p)] == ["hsnet"]
    assert not any(davis.serves(p) for p in IMAGE_PROTOCOLS.values())
