"""A tiny data set of all 48 classes, written once."""

from __future__ import annotations

from pathlib import Path

import pytest

from episodes.catalogue import folds_of
from episodes.sources import MiniRefSource, Source, open_source
from tests.episodes.tree import tiny_world, write_tree


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Collector, name: str, obj: object) -> list[pytest.Item] | None:
    """Leave out what a test file imports from the package: `test_episodes` and `TestTransform` are no tests."""
    home = getattr(obj, "__module__", None)
    return [] if isinstance(home, str) and home.partition(".")[0] == "episodes" else None


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny data set: read only."""
    return write_tree(tmp_path_factory.mktemp("tiny"), tiny_world(folds_of("mini_ref_ytvos")))


@pytest.fixture(scope="session")
def tiny(tiny_root: Path) -> MiniRefSource:
    """The tiny data set, opened as Mini-Ref-YouTube-VOS."""
    return MiniRefSource(tiny_root, folds_of("mini_ref_ytvos"))


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A small synthetic world."""
    return open_source("synthetic", cache=tmp_path_factory.mktemp("world"), world_seed=3, world_videos=2)
