"""The catalogue: one row per data set, light to import, open to other packages."""

from __future__ import annotations

import importlib.metadata
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from episodes import catalogue as module
from episodes.catalogue import KINDS, OWN, DataSet, Opening, catalogue, data_set, draws_as, folds_of, names, rows
from episodes.folds import Folds
from episodes.sources import ImageSource, open_source
from episodes.sources.tasks import open_task_source
from tests.episodes.image_tree import MemoryImages

LIGHT = """
import sys
import episodes, episodes.catalogue, episodes.folds
assert not hasattr(episodes, "absent")
assert "pascal5i" in episodes.catalogue.names()
print([name for name in ("torch", "torchvision", "numpy", "PIL", "pycocotools") if name in sys.modules])
"""


@pytest.fixture
def fresh() -> Iterator[None]:
    """A catalogue that is read anew, before and after."""
    catalogue.cache_clear()
    yield
    catalogue.cache_clear()


def entry(value: str) -> importlib.metadata.EntryPoint:
    return importlib.metadata.EntryPoint("toy", value, module.ENTRY_POINTS)


def toy(row: DataSet, opening: Opening) -> ImageSource:
    """Reader of a package outside."""
    assert row.folds is not None and opening.folder == Path("there")
    return MemoryImages({"a": {1: 4}, "b": {1: 4}}, row.folds)


TOY = DataSet("toy", "images", "tests.episodes.test_catalogue:toy", Folds("toy", ("cup", "spoon"), (0, 1)))


def test_importing_the_catalogue_waits_for_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.parametrize("row", OWN, ids=lambda row: row.name)
def test_every_row_has_a_reader_and_says_what_it_is(row: DataSet) -> None:
    assert callable(pkgutil.resolve_name(row.reader)) and row.kind in KINDS
    assert (row.folds is not None) == (row.kind in ("videos", "images")) == (not row.splits)
    assert row.folds is None or row.folds.name == row.name
    assert data_set(row.name, row.kind) is row


def test_names_and_rows_by_kind() -> None:
    assert len(names()) == len(set(names())) == len(OWN)
    assert [row.name for row in rows("rfs")] == list(names("rfs")) == ["a2d", "jhmdb"]
    assert data_set("davis17").splits[0] == "val" and data_set("refcoco").kind == "ris"
    assert folds_of("pascal5i").groups == (0, 1, 2, 3)


def test_a_name_of_another_kind_is_refused_with_the_valid_ones() -> None:
    with pytest.raises(ValueError, match="unknown benchmark 'davis17'; there are: .*pascal5i"):
        open_source("davis17", ".")
    with pytest.raises(ValueError, match="unknown benchmark 'pascal5i'; there are: davis16, .*refcoco_mixed, "):
        open_task_source("pascal5i", ".")
    with pytest.raises(ValueError, match="unknown benchmark 'lvos'; there are"):
        folds_of("lvos")
    with pytest.raises(ValueError, match="unknown split 'vla' of davis16; there are: val, train"):
        data_set("davis16").open(Opening(".", split="vla"))
    with pytest.raises(ValueError, match="needs data.root, the folder that holds"):
        _ = Opening().folder


def test_switches_of_videos_are_refused_for_images() -> None:
    with pytest.raises(ValueError, match="are for videos, pascal5i has images"):
        open_source("pascal5i", ".", exchange_box_limits=True)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"kind": "sound"},
            "videos, images, vos, rvos, ris, rfs, vis, vss, vps, pvos, got 'sound'",
        ),
        ({"kind": "images"}, "kind images needs folds"),
        ({"kind": "vos"}, "kind vos needs splits, the tested one first"),
    ],
)
def test_a_row_that_makes_no_sense_is_refused(wrong: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataSet(**{"name": "mine", "reader": "a:b", **wrong})


def test_another_package_adds_a_row(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [entry("tests.episodes.test_catalogue:TOY")]
    monkeypatch.setattr(module, "entry_points", lambda group: found if group == "fewshot.sources" else [])
    assert names("images")[-1] == "toy" and folds_of("toy").classes == ("cup", "spoon")
    source = open_source("toy", "there")
    assert source.videos(1) == ("a", "b") and source.read_masks("a", ("0",), 1).dtype == torch.bool
    assert draws_as("toy") == draws_as("of no catalogue").replace("of no catalogue", "toy") == "toy"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("tests.episodes.absent:ROW", "tests.episodes.absent:ROW of the group fewshot.sources cannot be loaded"),
        ("tests.episodes.test_catalogue:LIGHT", "must be an episodes.catalogue.DataSet, got str"),
        ("episodes.catalogue:OWN", "must be an episodes.catalogue.DataSet, got tuple"),
        ("tests.episodes.test_catalogue:TAKEN", "a data set 'pascal5i' is there already"),
    ],
)
def test_an_entry_point_of_no_use_is_named(
    fresh: None, monkeypatch: pytest.MonkeyPatch, value: str, message: str
) -> None:
    monkeypatch.setattr(module, "entry_points", lambda group: [entry(value)])
    with pytest.raises(ValueError, match=message):
        names()


TAKEN = DataSet("pascal5i", "images", "a:b", Folds("pascal5i", ("cup",), (0,)))
