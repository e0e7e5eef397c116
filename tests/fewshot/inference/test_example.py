"""The package's few public names, and the way from a run to a picture."""

from __future__ import annotations

from pathlib import Path

import pytest

import fewshot
from tests.fewshot.inference.saved import write_run


def test_the_public_names_are_there_and_no_others() -> None:
    assert set(fewshot.__all__) <= set(dir(fewshot))
    assert all(getattr(fewshot, name) is not None for name in fewshot.__all__)
    assert callable(fewshot.segment_episode)
    with pytest.raises(AttributeError, match="no attribute 'sgement'"):
        _ = fewshot.sgement


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the generated world, which is drawn once."""
    return tmp_path_factory.mktemp("world")


def test_six_lines_from_a_run_to_a_picture(tmp_path: Path, world: Path) -> None:
    write_run(tmp_path / "run")
    episode = fewshot.example_episode(group=2, index=3, videos=2, cache=world)
    masks = fewshot.segment_episode(fewshot.load(tmp_path / "run"), episode)
    fewshot.save_episode_picture(tmp_path / "episode.png", episode, masks)
    assert (tmp_path / "episode.png").is_file()
    assert [m.shape for m in masks] == [(8, 64, 64)] * len(episode.queries)
    assert episode.spec.class_id % 4 == 2 and episode.spec.index == 3


def test_an_episode_that_is_not_there_is_told(world: Path) -> None:
    with pytest.raises(ValueError, match="group 2 has the test episodes 0 to"):
        fewshot.example_episode(group=2, index=999, videos=2, cache=world)
    with pytest.raises(ValueError, match="group"):
        fewshot.example_episode(group=7, videos=2, cache=world)
