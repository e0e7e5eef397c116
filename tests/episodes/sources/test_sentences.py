"""A2D-Sentences and JHMDB-Sentences: sentences, windows of frames, masks, and what is broken."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat

from episodes.decoding import decode
from episodes.episode import ClipSpec
from episodes.sampling.tasks import RISEpisodes
from episodes.sources.sentences import SentenceSource, window_numbers
from episodes.sources.tasks import open_task_source
from episodes.task_items import RFSItem
from tests.episodes.sentence_trees import (
    A2D_ROWS,
    SIZE,
    jhmdb_rows,
    object_mask,
    pixels,
    write_a2d,
    write_annotation,
    write_film,
    write_jhmdb,
)


@pytest.fixture
def a2d(tmp_path: Path) -> Path:
    pytest.importorskip("h5py")
    return write_a2d(tmp_path / "a2d")


@pytest.fixture
def jhmdb(tmp_path: Path) -> Path:
    return write_jhmdb(tmp_path / "jhmdb_sentences")


def opened(name: str, root: Path) -> SentenceSource:
    source = open_task_source(name, root)
    assert isinstance(source, SentenceSource)
    return source


def greens(frames: torch.Tensor) -> list[int]:
    """The numbers of frames, which their green says."""
    return [int(frame[1, 0, 0]) // 20 for frame in frames]


def test_a2d_has_an_item_for_each_sentence_about_a_frame(a2d: Path) -> None:
    source = opened("a2d", a2d)
    assert source.problems() == [] and source.names() == ("vid-a", "vid_b")
    assert list(source.items()) == [
        RFSItem("vid-a", "00006", "0", "a ball", 3, "v_vid-a_f_6_i_3"),
        RFSItem("vid_b", "00001", "0", "A dog is running", 1, "v_vid_b_f_1_i_1"),
        RFSItem("vid_b", "00001", "1", "a  cat behind it", 2, "v_vid_b_f_1_i_2"),
        RFSItem("vid_b", "00004", "0", "A dog is running", 1, "v_vid_b_f_4_i_1"),
    ]
    assert source.frames("vid_b") == ("00001", "00004")
    assert [(e.id, e.object_id) for e in source.expressions("vid_b")] == [("0", 1), ("1", 2)]


def test_a2d_masks_are_turned_back_whether_there_is_one_object_or_several(a2d: Path) -> None:
    source = opened("a2d", a2d)
    for video, number, k in (("vid_b", 1, 1), ("vid_b", 1, 2), ("vid_b", 4, 1), ("vid-a", 6, 3)):
        masks = source.read_masks(video, (f"{number:05d}",), k)
        assert masks.dtype == torch.bool and np.array_equal(masks[0], object_mask(k, number))


def test_a_clip_of_a2d_has_its_frame_its_mask_and_its_words(a2d: Path) -> None:
    clip = opened("a2d", a2d).read(ClipSpec("vid_b", 2, ("00001",), "A  Cat", "1"))
    assert np.array_equal(clip.frames[0].permute(1, 2, 0), pixels(1)) and clip.expression == "a cat"
    assert clip.boxes.tolist() == [[5, 7, 14, 11]]


def test_images_for_training_are_drawn_from_annotated_frames(a2d: Path) -> None:
    (a2d / "a2d_sentences_single_frame_train_annotations.json").write_text(json.dumps(A2D_ROWS))
    episodes = RISEpisodes(open_task_source("a2d", a2d, "train"), seed=0)
    assert {episodes[k].queries[0].video for k in range(8)} == {"vid-a", "vid_b"}


def test_the_annotated_frame_is_in_the_middle_of_its_window() -> None:
    assert window_numbers(10, 5) == [8, 9, 10, 11, 12]
    assert window_numbers(10, 4) == [8, 9, 10, 11] and window_numbers(10, 1) == [10]
    for count in (1, 2, 5, 6):
        assert window_numbers(9, count)[count // 2] == 9


def test_windows_repeat_the_ends_of_the_video(a2d: Path) -> None:
    windows = opened("a2d", a2d).read_windows("vid_b", ("00001", "00004"), 5)
    assert greens(windows["00001"].frames) == [1, 1, 1, 2, 3] and windows["00001"].asked == 2
    assert greens(windows["00004"].frames) == [2, 3, 4, 5, 5] and windows["00004"].asked == 2
    assert windows["00004"].names == ("00002", "00003", "00004", "00005", "00005")
    assert windows["00001"].frames.shape == (5, 3, *SIZE)
    (last,) = opened("a2d", a2d).read_windows("vid-a", ("00006",), 4).values()
    assert greens(last.frames) == [4, 5, 6, 6] and last.asked == 2


def test_jhmdb_has_an_actor_in_each_video(jhmdb: Path) -> None:
    source = opened("jhmdb", jhmdb)
    assert source.problems() == []
    assert [item.sample_id for item in source.items()] == [
        *("v_catch_1_f_1", "v_catch_1_f_4", "v_catch_1_f_7", "v_wave_2_f_2")
    ]
    assert np.array_equal(source.read_masks("catch_1", ("00004",), 1)[0], object_mask(1, 4))
    windows = source.read_windows("catch_1", ("00001", "00007"), 5)
    assert [greens(window.frames) for window in windows.values()] == [[1, 1, 1, 2, 3], [5, 6, 7, 7, 7]]
    assert source.expressions("catch_1")[0].text == "A man catches" and len(source.expressions("catch_1")) == 1


@pytest.mark.parametrize("folder", ["jhmdb_sentences", "./datasets/jhmdb_sentences", "/home/me/jhmdb_sentences", "."])
def test_listed_paths_may_start_above_the_data_set(tmp_path: Path, folder: str) -> None:
    root = write_jhmdb(tmp_path / "anything", jhmdb_rows(folder))
    source = opened("jhmdb", root)
    assert source.problems() == [] and len(list(source.items())) == 4
    inside = write_jhmdb(tmp_path / "above" / "jhmdb_sentences", jhmdb_rows(folder))
    assert opened("jhmdb", inside.parent).problems() == []


def test_what_the_list_has_and_the_folders_have_not_is_told_before_anything_is_decoded(a2d: Path) -> None:
    (a2d / "Release/CLIPS320/vid-a.mp4").unlink()
    source = opened("a2d", a2d)
    (problem,) = source.problems()
    assert "frame 00006 of video 'vid-a' has sentences, but" in problem and "vid-a.mp4 is missing: restore" in problem
    with pytest.raises(
        ValueError, match=r"vid-a.mp4 is missing: restore it, or remove the sentences from .*test_annot"
    ):
        list(source.items())
    with pytest.raises(FileNotFoundError, match="vid-a.mp4 is missing"):
        source.read_frames("vid-a", ("00006",))
    (a2d / "text_annotations/a2d_annotation_with_instances/vid_b/00004.h5").unlink()
    assert any("vid_b/00004.h5 is missing" in line for line in opened("a2d", a2d).problems())


def test_an_object_that_never_appears_is_named(a2d: Path) -> None:
    path = a2d / "a2d_sentences_single_frame_test_annotations.json"
    path.write_text(json.dumps([*A2D_ROWS, ["a bird", "vid_b", 1, 7]]))
    source = opened("a2d", a2d)
    message = r"00001.h5 has no object 7, which 'a bird' is said of \(objects there: 1, 2\): correct"
    assert len(source.problems()) == 1
    with pytest.raises(ValueError, match=message):
        list(source.items())
    with pytest.raises(ValueError, match=r"00001.h5 has no object 7 \(objects there: 1, 2\)"):
        source.read_masks("vid_b", ("00001",), 7)
    write_annotation(a2d, "vid-a", 6, (3,), [np.zeros(SIZE, np.uint8)])
    with pytest.raises(ValueError, match="object 3 has no pixel in any annotated frame of the video"):
        opened("a2d", a2d).read_masks("vid-a", ("00006",), 3)


def test_an_object_that_is_hidden_in_one_frame_is_read_as_empty(a2d: Path) -> None:
    write_annotation(a2d, "vid_b", 4, (1,), [np.zeros(SIZE, np.uint8)])
    assert not opened("a2d", a2d).read_masks("vid_b", ("00004",), 1).any()


def test_an_actor_without_a_pixel_is_named(jhmdb: Path) -> None:
    savemat(jhmdb / "puppet_mask/wave/wave_2/puppet_mask.mat", {"part_mask": np.zeros((*SIZE, 3), np.uint8)})
    with pytest.raises(ValueError, match="wave_2.*object 1 has no pixel in any annotated frame"):
        opened("jhmdb", jhmdb).read_masks("wave_2", ("00002",), 1)


def test_videos_that_cannot_be_decoded_are_named_with_the_frame(a2d: Path) -> None:
    film = a2d / "Release/CLIPS320/vid_b.mp4"
    whole = film.read_bytes()
    film.write_bytes(b"no film" * 40)
    with pytest.raises(ValueError, match="vid_b.mp4 cannot be read as a video at its start"):
        opened("a2d", a2d).read_windows("vid_b", ("00001",), 5)
    write_film(film, [pixels(1), pixels(2)])
    with pytest.raises(ValueError, match=r"video 'vid_b' ends before frame 4, which .*test_annotations.json names"):
        opened("a2d", a2d).read_windows("vid_b", ("00001", "00004"), 5)
    film.write_bytes(whole)
    assert greens(opened("a2d", a2d).read_frames("vid_b", ("00003", "00002"))) == [3, 2]


def test_a_frame_that_the_decoder_patches_up_is_warned_of(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    film = write_film(tmp_path / "film.mp4", [pixels(k) for k in range(1, 10)])
    with av.open(str(film)) as container:
        packet = [packet for packet in container.demux(container.streams.video[0]) if packet.size][6]
        place, size = packet.pos, packet.size
    damaged = bytearray(film.read_bytes())
    damaged[place + 8 : place + size] = np.random.default_rng(0).bytes(size - 8)
    film.write_bytes(damaged)
    with pytest.warns(UserWarning, match=r"film\.mp4: frame 7 is damaged, the decoder has patched it up"):
        assert len(list(decode(film))) == 9


def test_damaged_annotations_are_named(a2d: Path, jhmdb: Path) -> None:
    h5py = pytest.importorskip("h5py")
    folder = a2d / "text_annotations/a2d_annotation_with_instances/vid_b"
    (folder / "00001.h5").write_bytes(b"no masks")
    with pytest.raises(ValueError, match="vid_b/00001.h5 cannot be read .*: download it again"):
        opened("a2d", a2d).read_masks("vid_b", ("00001",), 1)
    with h5py.File(folder / "00004.h5", "a") as file:
        del file["reMask"]
    with pytest.raises(ValueError, match="vid_b/00004.h5 cannot be read .*reMask"):
        opened("a2d", a2d).read_masks("vid_b", ("00004",), 1)
    mask = jhmdb / "puppet_mask/wave/wave_2/puppet_mask.mat"
    savemat(mask, {"other": np.zeros(3)})
    with pytest.raises(ValueError, match="puppet_mask.mat cannot be read .*part_mask"):
        opened("jhmdb", jhmdb).read_masks("wave_2", ("00002",), 1)
    savemat(mask, {"part_mask": object_mask(1, 1)})  # of one frame: MATLAB drops the axis
    with pytest.raises(ValueError, match="it has masks of 1 frames: download it again"):
        opened("jhmdb", jhmdb).read_masks("wave_2", ("00002",), 1)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (["a dog", "vid_b", 1], r"row 5 is no \[text, video, frame, instance\]"),
        (["a dog", "vid_b", 0, 1], "row 5 .*frame 0: frames are numbered from 1 on"),
        (["a dog", "vid_b", 1.5, 1], "row 5 .*1.5 is no whole number"),
        ([" ", "vid_b", 1, 1], "row 5 .*the sentence is empty"),
        ([7, "vid_b", 1, 1], "row 5 .*the expression 7 is no text"),
    ],
)
def test_malformed_rows_are_named(a2d: Path, row: list[Any], message: str) -> None:
    (a2d / "a2d_sentences_single_frame_test_annotations.json").write_text(json.dumps([*A2D_ROWS, row]))
    with pytest.raises(ValueError, match=message):
        opened("a2d", a2d)


def test_videos_of_jhmdb_have_one_length_and_lie_where_the_list_says(jhmdb: Path) -> None:
    path, rows = jhmdb / "jhmdb_sentences_samples_metadata.json", jhmdb_rows()
    path.write_text(json.dumps([*rows, [*rows[0][:3], 9, "again"]]))
    with pytest.raises(ValueError, match="row 5 .*'catch_1' has other files or another length in an earlier row"):
        opened("jhmdb", jhmdb)
    rows[3][1] = rows[3][1].replace("00002", "00004")
    path.write_text(json.dumps(rows))
    with pytest.raises(ValueError, match="frame 00004 of video 'wave_2' is beyond its 3 frames"):
        list(opened("jhmdb", jhmdb).items())
    (jhmdb / "Rename_Images/catch/catch_1/00004.png").unlink()
    assert any("catch_1/00004.png is missing" in line for line in opened("jhmdb", jhmdb).problems())


def test_two_sentences_of_one_object_are_told_of(a2d: Path) -> None:
    path = a2d / "a2d_sentences_single_frame_test_annotations.json"
    path.write_text(json.dumps([*A2D_ROWS, ["the animal", "vid_b", 1, 1]]))
    (problem,) = opened("a2d", a2d).problems()
    assert "several sentences for v_vid_b_f_1_i_1: each counts as a sample of its own here" in problem


@pytest.mark.parametrize(("module", "message"), [("h5py", r"needs h5py: pip install .*\[a2d\]"), ("av", "needs PyAV")])
def test_what_is_not_installed_is_told_when_the_data_set_is_opened(
    a2d: Path, monkeypatch: pytest.MonkeyPatch, module: str, message: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=message):
        open_task_source("a2d", a2d)


def test_fingerprint_follows_the_list(jhmdb: Path) -> None:
    first = opened("jhmdb", jhmdb).fingerprint()
    assert opened("jhmdb", jhmdb).fingerprint() == first
    (jhmdb / "jhmdb_sentences_samples_metadata.json").write_text(json.dumps(jhmdb_rows()[:3]))
    assert opened("jhmdb", jhmdb).fingerprint() != first
