from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from episodes.sampling.images import ImageEpisodes, image_test_episodes
from episodes.sources import open_source
from tests.episodes.image_tree import SIZE, write_mask, write_picture
from tests.shared import require_shared


@pytest.fixture
def fss(tmp_path):
    """Six classes with three images each, and their lists beside the folder."""
    for name in ("a", "b", "c", "d", "e", "f"):
        for k in (1, 2, 10):
            write_picture(tmp_path / "FSS-1000" / name / f"{k}.jpg")
            grey = np.zeros(SIZE, np.uint8)
            grey[2:6, 2:6], grey[2:6, 6] = 255, 127
            grey[2:6, 7] = 128
            write_mask(
                tmp_path / "FSS-1000" / name / f"{k}.png", np.dstack([grey] * 3 + [np.full(SIZE, 255, np.uint8)])
            )
    (tmp_path / "fss").mkdir()
    for split, names in (("trn", "b a"), ("val", "c d"), ("test", "f e")):
        (tmp_path / "fss" / f"{split}.txt").write_text("\n".join(names.split()) + "\n")
    return tmp_path


def test_both_test_splits(fss) -> None:
    official, variant = open_source("fss1000", fss), open_source("fss1000_val", fss)
    assert official.folds.classes == ("b", "a", "c", "d", "f", "e")
    assert [official.folds.class_name(c) for c in official.folds.test_classes(0)] == ["f", "e"]
    assert [variant.folds.class_name(c) for c in variant.folds.test_classes(0)] == ["c", "d"]
    for source in (official, variant):
        assert [source.folds.class_name(c) for c in source.folds.train_classes(0)] == ["b", "a"]
        assert source.problems() == []


def test_the_object_begins_at_grey_level_128(fss) -> None:
    source = open_source("fss1000", fss)
    spec = image_test_episodes(source, source.folds, 0, shots=2, seed=0, count=None, queries="first")[0]
    assert [spec.queries[0].video, *(c.video for c in spec.supports)] == ["f/1", "f/10", "f/2"]
    clip = source.read(spec.queries[0])
    assert clip.masks[0, 3, 7] and not clip.masks[0, 3, 6] and int(clip.masks.sum()) == 4 * 5
    assert clip.ignore is None


def test_the_official_list_alone(fss) -> None:
    for path in (fss / "fss").iterdir():
        path.unlink()
    (fss / "FSS-1000" / "fss_test_set.txt").write_text("c\nf\n")
    source = open_source("fss1000", fss)
    assert source.folds.classes == ("a", "b", "d", "e", "c", "f")
    assert len(source.folds.train_classes(0)) == 4 and len(source.folds.test_classes(0)) == 2


def test_missing_parts_are_told(fss, tmp_path) -> None:
    (fss / "FSS-1000" / "a" / "2.png").unlink()
    (fss / "FSS-1000" / "b" / "2.jpg").unlink()
    (fss / "FSS-1000" / "f").rename(fss / "FSS-1000" / "g")
    problems = "\n".join(open_source("fss1000", fss).problems())
    assert "a/2.jpg has no mask beside it: restore 2.png" in problems
    assert "b/2.jpg is missing: restore it, or remove its mask" in problems
    assert "1 folders of" in problems and "(g)" in problems
    assert "class 'f' has no image" in problems
    with pytest.raises(FileNotFoundError, match="no FSS-1000 under data.root"):
        open_source("fss1000", tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="no class lists of FSS-1000 under .*give their folder as data.lists"):
        open_source("fss1000", fss / "FSS-1000", lists=fss / "nowhere")


def test_the_real_sample() -> None:
    source = open_source("fss1000", require_shared("data", "fss1000-sample"))
    assert source.folds.classes == ("apple", "basketball") and len(source.files) == 20
    assert source.problems() == []
    episodes = ImageEpisodes(source, source.folds, 0, "train", shots=1, seed=0)
    assert {episodes[i].class_name for i in range(2)} == {"apple", "basketball"}
    for image in source.files:
        picture = Image.open(source.files[image][1])
        expected = np.asarray(picture.convert("L")) >= 128
        assert np.array_equal(source.labels(image), expected)
        assert 0 < source.area(image, source.folds.class_id(image.split("/")[0])) < expected.size
    assert Image.open(source.files["apple/1"][1]).mode == "RGBA"


def test_the_real_sample_with_the_lists_of_all_classes(caplog) -> None:
    lists = require_shared("data", "lists", "hsnet")
    source = open_source("fss1000", require_shared("data", "fss1000-sample"), lists=lists)
    assert len(source.folds.classes) == 1000
    assert source.folds.test_classes(0) == tuple(range(761, 1001))
    ImageEpisodes(source, source.folds, 0, "train", shots=1, seed=0)
    assert "0 images: fountain, taxi" in caplog.text and "and 498 more" in caplog.text
