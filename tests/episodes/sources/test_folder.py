from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from episodes.sampling.images import ImageEpisodes, image_test_episodes
from episodes.sources import open_source
from tests.episodes.image_tree import SIZE, blocks, write_folder, write_mask, write_picture
from tests.shared import require_shared

CLASSES = {"cat": 3, "dog": 4, "duck": 2}


@pytest.mark.parametrize("masks", ["{}", "{}/masks", "masks/{}"])
def test_masks_beside_or_in_a_folder_of_their_own(tmp_path, masks) -> None:
    source = open_source("folder", write_folder(tmp_path, CLASSES, masks))
    assert source.folds.classes == ("cat", "dog", "duck")
    assert source.videos(2) == ("dog/0", "dog/1", "dog/2", "dog/3")
    assert source.problems() == []
    clip = source.read(
        image_test_episodes(source, source.folds, 1, shots=3, seed=0, count=1, queries="list")[0].queries[0]
    )
    assert np.array_equal(clip.masks[0], blocks([1]) == 1) and clip.ignore is None


def test_images_and_annotations_apart(tmp_path) -> None:
    write_folder(tmp_path / "data" / "Images", {"cat": 2})
    for k in range(2):
        (tmp_path / "data" / "Images" / "cat" / f"{k}.png").unlink()
        write_mask(tmp_path / "data" / "Annotations" / "cat" / f"{k}.png", blocks([1]))
    assert open_source("folder", tmp_path).videos(1) == ("cat/0", "cat/1")


def test_png_images_with_masks_in_a_folder(tmp_path) -> None:
    for k in range(2):
        write_picture(tmp_path / "cat" / f"{k}.png")
        write_mask(tmp_path / "cat" / "masks" / f"{k}.png", 255 * blocks([1]))
    assert open_source("folder", tmp_path).videos(1) == ("cat/0", "cat/1")


def test_groups_of_few_and_of_many_classes(tmp_path) -> None:
    few = open_source("folder", write_folder(tmp_path / "few", CLASSES))
    assert few.folds.groups == (0, 1, 2)
    spec = ImageEpisodes(few, few.folds, 2, "train", shots=1, seed=0)[0]
    assert spec.class_name in ("cat", "dog")
    many = open_source("folder", write_folder(tmp_path / "many", {f"c{k}": 1 for k in range(9)}))
    assert many.folds.groups == (0, 1, 2, 3)
    with pytest.raises(ValueError, match="no group 4; valid groups: 0, 1, 2, 3"):
        many.folds.test_classes(4)


def palette(labels: np.ndarray) -> Image.Image:
    picture = Image.fromarray(labels, mode="P")
    picture.putpalette([0, 0, 0, 9, 9, 9] + [0] * 762)
    return picture


def colours(labels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([255 * labels] * 3))


@pytest.mark.parametrize(
    "picture",
    [
        lambda x: Image.fromarray(x),
        lambda x: Image.fromarray(255 * x),
        lambda x: Image.fromarray(x > 0),
        palette,
        colours,
    ],
    ids=["0 and 1", "0 and 255", "bits", "dark palette", "colours"],
)
def test_forms_of_a_mask(tmp_path, picture) -> None:
    write_folder(tmp_path, {"cat": 2})
    picture(blocks([1])).save(tmp_path / "cat" / "0.png")
    source = open_source("folder", tmp_path)
    assert source.problems() == []
    assert np.array_equal(source.labels("cat/0"), blocks([1]))


def test_grey_levels_are_cut_at_128_and_told(tmp_path) -> None:
    write_folder(tmp_path, {"cat": 2})
    grey = 255 * blocks([1])
    grey[8, 3:6] = (100, 127, 128)
    write_mask(tmp_path / "cat" / "0.png", grey)
    source = open_source("folder", tmp_path)
    assert source.area("cat/0", 1) == 12 + 1
    assert source.problems() == [
        "1 mask (cat/0) with grey levels between black and white: pixels from 128 on count as the object; "
        "write 0 and 255"
    ]


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (lambda f: write_mask(f / "0.png", 3 * blocks([1])), "has the values 0, 3: write 0 for background and 255"),
        (lambda f: write_mask(f / "0.png", blocks([])), "0.png is empty: its image is not used"),
        (lambda f: write_mask(f / "0.png", 255 * blocks([1])[:9]), "0.png is 9x16, but its image is 12x16"),
        (lambda f: (f / "0.png").unlink(), "0.jpg has no mask: add 0.png"),
        (lambda f: (f / "0.jpg").unlink(), "0.png has no image: add the image"),
        (lambda f: (f / "0.png").write_bytes(b"no png"), "0.png cannot be used: mask .* cannot be read"),
        (lambda f: (f / "0.jpg").write_bytes(b"no jpg"), "0.jpg cannot be read"),
        (
            lambda f: Image.new("I;16", (16, 12), 300).save(f / "0.png"),
            "0.png cannot be used: .*mode 'I;16'",
        ),
    ],
)
def test_problems_are_told_in_sentences(tmp_path, write, sentence) -> None:
    write_folder(tmp_path, {"cat": 3, "dog": 3})
    write(tmp_path / "cat")
    problems = open_source("folder", tmp_path).problems()
    assert len(problems) == 1
    assert re.search(sentence, problems[0]), problems


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (lambda f: write_mask(f / "0.png", 255 * blocks([1])[:9]), "0.png is 9x16, but its image is 12x16"),
        (lambda f: (f / "0.jpg").write_bytes(b"no jpg"), "0.jpg cannot be read"),
    ],
)
def test_images_that_cannot_be_used_are_refused_before_the_first_episode(tmp_path, write, sentence) -> None:
    write_folder(tmp_path, {"cat": 3, "dog": 3})
    write(tmp_path / "cat")
    source = open_source("folder", tmp_path)
    with pytest.raises(ValueError, match=f"folder: .*{sentence}"):
        image_test_episodes(source, source.folds, 0, shots=1, seed=0, count=None, queries="each")
    with pytest.raises(ValueError, match=f"folder: .*{sentence}"):
        ImageEpisodes(source, source.folds, 1, "train", shots=1, seed=0)


def test_files_without_a_partner_are_left_out_with_a_warning(tmp_path, caplog) -> None:
    write_folder(tmp_path, {"cat": 3})
    (tmp_path / "cat" / "0.png").unlink()
    (tmp_path / "cat" / "1.jpg").unlink()
    assert open_source("folder", tmp_path).videos(1) == ("cat/2",)
    assert "2 images or masks in" in caplog.text and "have no partner and are left out" in caplog.text


def test_many_problems_of_one_kind_are_counted(tmp_path) -> None:
    write_folder(tmp_path, {"cat": 40, "dog": 2})
    for k in range(30):
        write_mask(tmp_path / "cat" / f"{k}.png", blocks([]))
    problems = open_source("folder", tmp_path).problems()
    assert len(problems) == 21 and problems[-1] == "and 10 more problems like the one before"


def test_a_folder_without_pairs_tells_the_layout(tmp_path) -> None:
    write_picture(tmp_path / "cat" / "0.jpg", SIZE)
    with pytest.raises(FileNotFoundError, match=r"no image with a mask under .*expected <class>/<image>\.jpg with"):
        open_source("folder", tmp_path)
    with pytest.raises(FileNotFoundError, match="is not a folder: give the folder"):
        open_source("folder", tmp_path / "nowhere")


def test_real_images_of_objects() -> None:
    source = open_source("folder", require_shared("data", "perseg-examples"))
    assert source.folds.classes == ("cat", "colorful_sneaker", "duck_toy") and source.problems() == []
    for group in source.folds.groups:
        specs = image_test_episodes(source, source.folds, group, shots=2, seed=0, count=None, queries="first")
        assert [s.queries[0].video[-2:] for s in specs] == ["00", "01", "02"]
        assert all(source.read(c).masks.any() for s in specs for c in (*s.supports, *s.queries))


def test_a_real_data_set_may_be_opened_as_a_folder() -> None:
    source = open_source("folder", require_shared("data", "fss1000-sample", "FSS-1000"))
    assert source.folds.classes == ("apple", "basketball") and len(source.files) == 20
    assert [p for p in source.problems() if "grey levels" not in p] == []
