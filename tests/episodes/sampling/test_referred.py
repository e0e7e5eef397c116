"""Clips with expressions: every sample once in a round, frames around a start, and words that tell queries apart."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from episodes.decoding import count_frames
from episodes.episode import ClipSpec, EpisodeSpec
from episodes.sampling.referred import ClipEpisodes, SentenceClipEpisodes, clip_frames
from episodes.sources.sentences import SentenceSource
from episodes.sources.tasks import open_task_source
from tests.episodes.sampling.test_tasks import Videos
from tests.episodes.sentence_trees import pixels, write_film, write_jhmdb


def test_every_expression_of_every_start_comes_once_in_a_round() -> None:
    episodes = ClipEpisodes(Videos(3, 12), seed=0, frames=5)
    assert len(episodes) == 3 * 3 * 3  # videos, starts at 0, 5 and 10, expressions
    specs = [episodes[i] for i in range(2 * len(episodes))]
    for turn in (specs[: len(episodes)], specs[len(episodes) :]):
        said = Counter((spec.queries[0].video, spec.queries[0].expression_id) for spec in turn)
        assert set(said.values()) == {3} and len(said) == 9
    again = ClipEpisodes(Videos(3, 12), seed=0, frames=5)
    assert [again[i] for i in (40, 3, 17)] == [specs[i] for i in (40, 3, 17)]
    assert [ClipEpisodes(Videos(3, 12), seed=1)[i].queries for i in range(9)] != [s.queries for s in specs[:9]]
    assert all(spec.shots == 0 and len(spec.queries) == 1 and len(spec.queries[0].frames) == 5 for spec in specs)


def test_the_start_is_in_its_clip_with_its_neighbours_and_no_frame_comes_twice() -> None:
    names, generator = [f"{k:02d}" for k in range(20)], np.random.default_rng(0)
    for start in (0, 7, 19):
        for _ in range(40):
            frames = [int(name) for name in clip_frames(names, start, 5, generator)]
            assert start in frames and frames == sorted(set(frames)) and len(frames) == 5
            near = [k for k in frames if 0 < abs(k - start) <= 3]
            assert len(near) >= (1 if start in (0, 19) else 2)
    assert clip_frames(names, 4, 1, generator) == ("04",)
    assert len(clip_frames(names[:3], 1, 5, generator)) == 5  # a video of three frames: some twice


def test_clips_with_repeats_are_those_of_the_released_code() -> None:
    """At an end of the video that frame stands for its neighbour too; the last one chosen may be drawn once more."""
    names, generator = [f"{k:02d}" for k in range(20)], np.random.default_rng(0)
    drawn = [[int(k) for k in clip_frames(names, 7, 5, generator, repeat=True)] for _ in range(300)]
    assert all(7 in clip and clip == sorted(clip) and len(clip) == 5 for clip in drawn)
    twice = [{k for k in clip if clip.count(k) > 1} for clip in drawn]
    assert any(twice) and all(again <= {8, 9, 10} for again in twice)  # the frame after the start alone
    assert all(clip_frames(names, 0, 3, generator, repeat=True)[:2] == ("00", "00") for _ in range(9))
    assert clip_frames(names[:1], 0, 5, generator, repeat=True) == ("00",) * 5
    episodes = ClipEpisodes(Videos(3, 12), seed=0, frames=5, repeat=True)
    assert any(len(set(episodes[k].queries[0].frames)) < 5 for k in range(30))


def test_several_queries_share_their_frames_and_mean_other_objects_first() -> None:
    episodes = ClipEpisodes(Videos(3, 2), seed=0, frames=1, expressions=2)
    assert len(episodes) == 3 * 2  # videos and starts: expressions are drawn
    firsts = set()
    for i in range(60):
        a, b = episodes[i].queries
        assert a.frames == b.frames and a.expression_id != b.expression_id
        assert {a.object_id, b.object_id} == {1, 2}
        firsts.add(a.expression_id)
    assert firsts == {"0", "1", "2"}


def test_a_part_of_the_clips_runs_backwards() -> None:
    episodes = ClipEpisodes(Videos(4, 20), seed=0, frames=5, reverse=0.3)
    backwards = [list(s.queries[0].frames) != sorted(s.queries[0].frames) for s in (episodes[i] for i in range(300))]
    assert 0.2 < np.mean(backwards) < 0.4


def test_what_is_asked_of_a_clip_is_written_where_it_is_not_all() -> None:
    whole = EpisodeSpec("a2d", 0, "train", 0, 0, 1, "object", (), (ClipSpec("v", 1, ("1", "2"), "it", "0"),))
    assert "asked" not in whole.to_json()["queries"][0] and EpisodeSpec.from_json(whole.to_json()) == whole
    part = replace(whole, queries=(replace(whole.queries[0], asked=1),))
    assert part.to_json()["queries"][0]["asked"] == 1 and EpisodeSpec.from_json(part.to_json()) == part


def test_frames_around_a_sentence_come_from_the_whole_video(tmp_path: Path) -> None:
    source = open_task_source("jhmdb", write_jhmdb(tmp_path / "jhmdb_sentences"))
    assert isinstance(source, SentenceSource)
    episodes = SentenceClipEpisodes(source, seed=0, frames=5)
    specs = [episodes[i].queries[0] for i in range(4)]
    assert len(episodes) == 4 and len({(spec.video, spec.frames[spec.asked or 0]) for spec in specs}) == 4
    for spec in specs:
        assert spec.asked is not None and list(spec.frames) == sorted(spec.frames) and len(spec.frames) == 5
        last = {"catch_1": 7, "wave_2": 3}[spec.video]
        assert all(1 <= int(frame) <= last for frame in spec.frames)
        clip = source.read(spec)
        assert clip.asked == spec.asked and clip.masks is not None and clip.masks.flatten(1).any(1).sum() == 1


def test_frames_of_a_video_are_counted(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4", [pixels(k) for k in range(1, 8)])
    assert count_frames(film) == 7
    (tmp_path / "broken.mp4").write_bytes(b"no film")
    with pytest.raises(ValueError, match=r"broken\.mp4 cannot be read as a video at its start"):
        count_frames(tmp_path / "broken.mp4")


@pytest.mark.parametrize("numbers", [{"frames": 0}, {"expressions": 0}])
def test_there_is_a_frame_and_an_expression(numbers: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        ClipEpisodes(Videos(), seed=0, **numbers)
