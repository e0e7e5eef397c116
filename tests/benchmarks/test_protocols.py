"""The named protocols and their cards."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.protocols import PROTOCOLS, get_protocol
from benchmarks.protocols.registry import GROUP, ProtocolRegistry, protocols_served
from benchmarks.report import Report
from tests.benchmarks.test_report import query

ROOT = Path(__file__).resolve().parents[2]
other_package = SimpleNamespace()


def test_official_choices() -> None:
    cma, per_class, davis = (PROTOCOLS[name] for name in ("cma", "cma_per_class", "davis"))
    assert (cma.bound_th, cma.resolution, cma.reducer) == (0.010, "network", "frames")
    assert (per_class.bound_th, per_class.resolution, per_class.reducer) == (0.010, "network", "classes")
    assert (davis.bound_th, davis.resolution, davis.reducer) == (0.008, "original", "queries")
    assert cma.scores == ("j_cma", "f_cma") and davis.scores == ("j_davis", "f_davis")


def test_rules_do_not_change_without_a_new_version() -> None:
    """Where a digest differs a rule was changed: raise the `version` of that protocol, and enter its digest here."""
    assert {protocol.versioned: protocol.digest for protocol in PROTOCOLS.values()} == {
        "cma@1": "6ffa44e3f179",
        "cma_per_class@1": "37b97b1eded9",
        "clean@1": "98de685d1608",
        "clean_per_class@1": "0064deee8b96",
        "davis@1": "79dba4c4cd1e",
        "hsnet@1": "2860bf4128e5",
        "pfenet@1": "0595ae953e32",
        "bam@1": "3e9ac497a4cc",
        "uniref@1": "d8de3b84e7e9",
    }


def test_a_digest_is_of_the_rules_and_not_of_the_words_about_them() -> None:
    for protocol in PROTOCOLS.values():
        assert replace(protocol, source="another paper").digest == protocol.digest
        assert replace(protocol, version=2).digest != protocol.digest
    assert replace(PROTOCOLS["davis"], bound_th=0.010).digest != PROTOCOLS["davis"].digest
    rules = {**PROTOCOLS["hsnet"].rules, "": replace(PROTOCOLS["hsnet"].rules[""], count=999)}
    assert replace(PROTOCOLS["hsnet"], rules=rules).digest != PROTOCOLS["hsnet"].digest
    assert "hsnet@1, rules 2860bf4128e5 (" in PROTOCOLS["hsnet"].card().splitlines()[0]


def test_protocols_say_which_queries_are_asked() -> None:
    official, clean = (PROTOCOLS[name].card(shots=1).splitlines() for name in ("cma", "clean"))
    assert "also for objects of another class" in next(line for line in official if line.startswith("queries "))
    assert "supports of the class of its object" in next(line for line in clean if line.startswith("queries "))
    assert "queries      : frozen in a.jsonl" in PROTOCOLS["cma"].card(frozen="a.jsonl")
    assert "(official: 1)" in PROTOCOLS["cma"].card(shots=5) and "(official: 1)" not in PROTOCOLS["clean"].card(shots=5)
    assert "(official: 1)" not in PROTOCOLS["cma"].card(shots=1)
    served = {name: [p.name for p in protocols_served(PROTOCOLS[name])] for name in ("cma", "clean", "davis")}
    assert served["cma"] == ["cma", "cma_per_class", "davis"]
    assert served["clean"] == ["clean", "clean_per_class", "davis"]
    assert served["davis"] == ["clean", "clean_per_class", "davis"], "which draws the clean list"


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
    with pytest.raises(ValueError, match=r"'davs'\. Did you mean 'davis'\? Valid: cma, "):
        get_protocol("davs")


class TestProtocolsOfOtherPackages:
    """The entry-point group `fewshot.protocols`."""

    STRICT = replace(PROTOCOLS["davis"], name="davis_strict", bound_th=0.004)

    @pytest.fixture
    def registry(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], ProtocolRegistry]:
        """Makes a registry that finds one entry point, which loads to what it is given."""

        def make(loaded: Any) -> ProtocolRegistry:
            monkeypatch.setattr(other_package, "found", loaded, raising=False)
            point = EntryPoint("strict", f"{__name__}:other_package.found", GROUP)
            monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [point] if group == GROUP else [])
            return ProtocolRegistry(PROTOCOLS._own)

        return make

    def test_they_stand_among_the_others(self, registry: Callable) -> None:
        found = registry(self.STRICT)
        assert list(found) == [*PROTOCOLS._own, "davis_strict"] and len(found) == len(PROTOCOLS._own) + 1
        assert found["davis_strict"] is self.STRICT and found["cma"] is PROTOCOLS["cma"]

    def test_a_report_averages_with_them(self, registry: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("benchmarks.protocols.registry.PROTOCOLS", registry(self.STRICT))
        report = Report([query(0.5, davis=(0.25, 0.75))], protocol="davis_strict", bootstrap=0)
        assert report.value("J") == 0.25 and "tolerance 0.004" in report.table()
        assert "davis_strict" in Report([query(0.5)], bootstrap=0).table()

    @pytest.mark.parametrize(
        ("loaded", "message"),
        [
            (replace(STRICT, name="cma"), "there is a protocol 'cma' already"),
            ("davis", "is a str: name an object of benchmarks.protocols.Protocol"),
        ],
    )
    def test_what_is_no_protocol_of_its_own_is_refused(self, registry: Callable, loaded: Any, message: str) -> None:
        found = registry(loaded)
        assert found["davis"].name == "davis"  # our own need no entry points
        with pytest.raises(ValueError, match=rf"entry point 'strict' of fewshot.protocols.*{message}"):
            list(found)

    def test_one_that_does_not_load_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        points = [EntryPoint("broken", "no_such_package:PROTOCOL", GROUP)]
        monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points)
        with pytest.raises(ValueError, match="'broken'.*does not load: No module named 'no_such_package'"):
            len(ProtocolRegistry(PROTOCOLS._own))


def test_the_names_are_light() -> None:
    code = "import sys; from benchmarks.protocols import PROTOCOLS; list(PROTOCOLS); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stdout.strip() == "False", done.stderr
