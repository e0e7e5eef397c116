"""The named protocols and their cards."""

from __future__ import annotations

import pytest

from benchmarks.protocols import PROTOCOLS, get_protocol


def test_official_choices() -> None:
    cma, per_class, davis = (PROTOCOLS[name] for name in ("cma", "cma_per_class", "davis"))
    assert (cma.bound_th, cma.resolution, cma.reducer) == (0.010, "network", "frames")
    assert (per_class.bound_th, per_class.resolution, per_class.reducer) == (0.010, "network", "classes")
    assert (davis.bound_th, davis.resolution, davis.reducer) == (0.008, "original", "queries")
    assert cma.scores == ("j_cma", "f_cma") and davis.scores == ("j_davis", "f_davis")


def test_card_names_every_choice() -> None:
    card = PROTOCOLS["cma"].card(
        benchmark="mini_ref_ytvos", size="short side 360", checkpoint="val", shots=1, seeds=(0, 1), start_weights="r50"
    )
    for text in ("cma", "mini_ref_ytvos", "short side 360", "val:", "1 per episode", "0, 1", "0.010", "pooled", "r50"):
        assert text in card
    assert "not class-disjoint with respect to pre-training" in card
    assert "not stated" not in card


def test_card_says_what_is_not_known_and_does_not_warn_without_reason() -> None:
    assert PROTOCOLS["davis"].card().count("not stated") == 4
    assert "class-disjoint" not in PROTOCOLS["davis"].card(start_weights=None)


def test_choosing_on_the_test_classes_is_printed() -> None:
    assert "not an honest held-out number" in PROTOCOLS["cma"].card(checkpoint="test")
    with pytest.raises(ValueError, match="'best'.*val, test, last, given"):
        PROTOCOLS["cma"].card(checkpoint="best")


def test_unknown_protocol() -> None:
    with pytest.raises(ValueError, match="did you mean 'davis'"):
        get_protocol("davs")
