"""The lists of RefCOCO, RefCOCO+ and RefCOCOg, as COCO-style JSON or as the REFER files, in one table of objects."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from episodes.sources.entries import load_json, refuse_twice, whole
from episodes.sources.plain_pickle import load_plain
from episodes.sources.video_files import in_time

# benchmark -> names of its JSON lists (those with the split's author are the REFER names), folder and split of REFER
ALIASES = {
    "refcoco": ("refcoco-unc", "refcoco"),
    "refcoco_plus": ("refcoco+-unc", "refcocoplus-unc", "refcoco+", "refcocoplus", "refcoco_plus"),
    "refcocog": ("refcocog-umd", "refcocog"),
}
REFER = {"refcoco": ("refcoco", "unc"), "refcoco_plus": ("refcoco+", "unc"), "refcocog": ("refcocog", "umd")}
PATTERNS = (
    "annotations/{0}_{1}.json",
    "annotations/instances_{0}_{1}.json",
    "{0}_{1}.json",
    "instances_{0}_{1}.json",
    "{0}/{1}.json",
    "{0}/instances_{1}.json",
    "{0}/{0}_{1}.json",
    "{0}/instances_{0}_{1}.json",
)
IMAGES = ("train2014", "images/train2014", "images/mscoco/images/train2014", "coco/train2014", "images")


@dataclass(frozen=True)
class RefObject:
    """An object that expressions refer to.

    Attributes:
        file: file name of its image.
        size: height and width of the image.
        segmentation: polygons or run lengths, as COCO writes them.
        expressions: the words, in file order.
        where: names the list and the entry, for messages.
        errors: what makes it unusable, as sentences.
    """

    file: str
    size: tuple[int, int]
    segmentation: Any
    expressions: tuple[str, ...]
    where: str
    errors: tuple[str, ...] = ()


def find_images(root: Path) -> Path:
    """Folder of COCO train2014 under `root`; the first place where it could be when there is none."""
    return next((root / name for name in IMAGES if (root / name).is_dir()), root / IMAGES[0])


def find_lists(benchmark: str, root: Path, split: str) -> dict[str, RefObject]:
    """The objects of a split by name: JSON lists where there are some, else the REFER files.

    Raises FileNotFoundError that lists the places looked at, ValueError for a broken file.
    """
    places = [root / pattern.format(alias, split) for alias in ALIASES[benchmark] for pattern in PATTERNS]
    if path := next((path for path in places if path.is_file()), None):
        return read_json_list(path)
    name, author = REFER[benchmark]
    folder = next((root / f / name for f in (".", "refer/data", "data") if (root / f / name).is_dir()), root / name)
    if (folder / f"refs({author}).p").is_file():
        return read_refer(folder, author, split)
    raise FileNotFoundError(
        f"no {benchmark} under {root}: expected {places[0]}, or {folder}/refs({author}).p and {folder}/instances.json "
        f"of REFER; data.root must hold them beside train2014 (the images of COCO)"
    )


def read_json_list(path: Path) -> dict[str, RefObject]:
    """A COCO-style JSON list: an "image" per object, with `expressions` and one annotation.

    Raises ValueError for a file of another form.
    """
    content = _read(path, ("images", "annotations"))
    refuse_twice((image.get("id") for image in content["images"]), path, "images of the id")
    by_image: dict[int, list[dict[str, Any]]] = {}
    for annotation in content["annotations"]:
        by_image.setdefault(annotation["image_id"], []).append(annotation)
    entries = {}
    for image in content["images"]:
        where = f"{path}: image {image.get('id')}"
        of_image = by_image.get(image.get("id"), [])
        errors = [] if len(of_image) == 1 else [f"{where} has {len(of_image)} annotations: it must have one"]
        annotation = of_image[0] if of_image else {}
        said = image.get("expressions", annotation.get("expressions", []))
        entries[str(image.get("id"))] = _object(image, annotation, said, where, errors)
    return _sorted(entries)


def read_refer(folder: Path, author: str, split: str) -> dict[str, RefObject]:
    """The files of REFER (Yu et al., ECCV 2016; Mao et al., CVPR 2016): `refs(<author>).p` and `instances.json`.

    Raises FileNotFoundError for a missing file, ValueError for a broken one or a split that the file does not have.
    """
    path = folder / f"refs({author}).p"
    refs, content = load_plain(path), _read(folder / "instances.json", ("images", "annotations"))
    refuse_twice((ref["ref_id"] for ref in refs), path, "refs of the id")
    for listed in ("images", "annotations"):
        refuse_twice((row["id"] for row in content[listed]), folder / "instances.json", f"{listed} of the id")
    images = {image["id"]: image for image in content["images"]}
    annotations = {annotation["id"]: annotation for annotation in content["annotations"]}
    if split not in (splits := sorted({ref["split"] for ref in refs})):
        raise ValueError(f"{path} has no split {split!r}; there are: {', '.join(splits)}")
    entries = {}
    for ref in (ref for ref in refs if ref["split"] == split):
        where, absent = f"{path}: ref {ref['ref_id']}", []
        for what, table, key in (("image", images, ref["image_id"]), ("annotation", annotations, ref["ann_id"])):
            if key not in table:
                absent.append(f"{where} names {what} {key}, which instances.json does not have: download it again")
        image, annotation = images.get(ref["image_id"], {}), annotations.get(ref["ann_id"], {})
        said = [sentence["sent"] for sentence in ref["sentences"]]
        entries[str(ref["ref_id"])] = _object(image, annotation, said, where, absent)
    return _sorted(entries)


def _object(
    image: dict[str, Any], annotation: dict[str, Any], said: Iterable[str], where: str, errors: list[str]
) -> RefObject:
    texts = tuple(str(text) for text in said)
    if not texts:
        errors.append(f"{where} has no expression: write one, or remove the entry")
    if any(not text.strip() for text in texts):
        errors.append(f"{where} has an empty expression: write the words, or remove it")
    try:
        size, file = (whole(image["height"]), whole(image["width"])), str(image["file_name"])
    except (KeyError, TypeError, ValueError) as error:
        errors.append(f"{where} has no usable file_name, height and width ({error!r}): correct it")
        size, file = (0, 0), ""
    return RefObject(file, size, annotation.get("segmentation"), texts, where, tuple(errors))


def _sorted(entries: dict[str, RefObject]) -> dict[str, RefObject]:
    return {name: entries[name] for name in sorted(entries, key=in_time)}


def _read(path: Path, tables: tuple[str, ...]) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: restore the file")
    content = load_json(path)
    absent = [t for t in tables if not isinstance(content, dict) or not isinstance(content.get(t), list)]
    if absent:
        raise ValueError(f"{path} has no list {' and no list '.join(map(repr, absent))}: it must be COCO-style JSON")
    return content
