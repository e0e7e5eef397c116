"""The lists of Ref-YouTube-VOS and Ref-DAVIS17, read into one table of videos. Faults are kept as sentences."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from episodes.sources.entries import whole, words
from episodes.sources.index import load_json
from episodes.sources.ref_youtube_vos_test import TEST_VIDEOS
from episodes.sources.video_files import follow, list_frames, order_faults
from episodes.sources.vos_layouts import davis_layout
from episodes.task_items import RVOSItem

ANNOTATORS = ("annot1", "annot1_full_video", "annot2", "annot2_full_video")  # first frame and full video, two people
LINE = re.compile(r'^(\S+)\s+(\d+)\s+"(.*)"\s*$')


@dataclass(frozen=True)
class RefVideo:
    """A video by name.

    Attributes:
        frames: names of the listed frames, in time order.
        items: one per expression, in file order.
        classes: object id -> name of its class, where the lists say it.
        errors: what makes the video unusable, as sentences.
        remarks: harmless oddities, as sentences.
    """

    frames: tuple[str, ...] = ()
    items: tuple[RVOSItem, ...] = ()
    classes: dict[int, str] = field(default_factory=dict)
    errors: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class RefLayout:
    """Folders of a split and its videos.

    Attributes:
        images: folder with one folder of frames per video.
        masks: folder with one folder of label PNGs per video.
        videos: sorted by name.
        remarks: about the whole split.
        truth: the masks that results are scored against, where they are others than `masks`.
    """

    images: Path
    masks: Path
    videos: dict[str, RefVideo]
    remarks: tuple[str, ...] = ()
    truth: Path | None = None


def ref_youtube_vos_layout(root: Path, split: str) -> RefLayout:
    """Ref-YouTube-VOS: `meta_expressions/<split>/meta_expressions.json` and `<split>/{JPEGImages,Annotations}`.

    The list of `valid` also holds the videos of `test`: those that the list of `test` names are left out, which leaves
    the 202 videos of the benchmark (Seo et al., "URVOS", ECCV 2020, and its evaluation server). Where that list is not
    there, `TEST_VIDEOS` stands for it.

    Raises FileNotFoundError for a missing list, ValueError for a broken one.
    """
    base = _base(root, "ref-youtube-vos")
    layout = _json_layout(base, split, _as_listed)
    if split != "valid":
        return layout
    test = _expressions_file(base, "test")
    tested = load_json(test) if test.is_file() else TEST_VIDEOS
    return replace(layout, videos={name: video for name, video in layout.videos.items() if name not in tested})


def ref_davis17_layout(root: Path, split: str, resolution: str = "480p") -> RefLayout:
    """Ref-DAVIS17 (Khoreva et al., ACCV 2018), in one of two layouts.

    Lists as JSON, with `<split>/{JPEGImages,Annotations}` beside them as for Ref-YouTube-VOS, where expression
    `4*place+a` is that of annotator `a`, for the object that it names or, without a name, `place + 1`; else the
    original `davis_text_annotations/Davis17_<annotator>.txt` beside DAVIS-2017. Their object ids are those of
    `Annotations`, results are scored against `Annotations_unsupervised`.

    Raises FileNotFoundError for a missing list or folder, ValueError for a broken list.
    """
    base = _base(root, "ref-davis")
    if _expressions_file(base, split).is_file():
        return _json_layout(base, split, _by_annotator)
    folder = next((root / f for f in (".", "DAVIS") if (root / f / "davis_text_annotations").is_dir()), None)
    if folder is None:
        raise FileNotFoundError(
            f"no Ref-DAVIS17 under {root}: expected {_expressions_file(base, split)} or the folder "
            f"{root}/davis_text_annotations beside DAVIS-2017; data.root must be the folder that holds the data set"
        )
    return _text_layout(root, folder / "davis_text_annotations", split, resolution)


def _base(root: Path, name: str) -> Path:
    if not root.is_dir():
        raise FileNotFoundError(f"data.root={root} is not a folder: give the folder that holds the data set")
    return root / name if (root / name / "meta_expressions").is_dir() else root


def _expressions_file(base: Path, split: str) -> Path:
    return base / "meta_expressions" / split / "meta_expressions.json"


MakeItem = Callable[[str, tuple[str, ...], str, str, "int | None"], RVOSItem]


def _as_listed(video: str, frames: tuple[str, ...], key: str, text: str, object_id: int | None) -> RVOSItem:
    return RVOSItem(video, frames, key, text, object_id)


def _by_annotator(video: str, frames: tuple[str, ...], key: str, text: str, object_id: int | None) -> RVOSItem:
    place, annotator = divmod(int(key), len(ANNOTATORS))
    return RVOSItem(video, frames, key, text, place + 1 if object_id is None else object_id, annotator)


def _json_layout(base: Path, split: str, make: MakeItem) -> RefLayout:
    path, meta_path = _expressions_file(base, split), base / split / "meta.json"
    said = load_json(path)
    objects = load_json(meta_path) if meta_path.is_file() else {}
    videos = {}
    for name in sorted(said):
        try:
            rows = objects[name]["objects"] if name in objects else {}
            classes = {whole(k): str(row["category"]) for k, row in rows.items() if "category" in row}
            video = replace(_video(name, said[name], make), classes=classes)
            videos[name] = _checked(name, video, {whole(k) for k in rows} if name in objects else None)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"video {name!r}: its entry in {path} or {meta_path} is malformed ({error!r}): correct it"
            videos[name] = RefVideo(errors=(reason,))
    return RefLayout(follow(base / split / "JPEGImages"), follow(base / split / "Annotations"), videos)


def _video(name: str, entry: dict[str, Any], make: MakeItem) -> RefVideo:
    frames = tuple(str(frame) for frame in entry["frames"])
    items = [
        make(name, frames, str(key), words(row["exp"]), whole(row["obj_id"]) if "obj_id" in row else None)
        for key, row in entry["expressions"].items()
    ]
    return RefVideo(frames, tuple(items))


def _checked(name: str, video: RefVideo, known: set[int] | None) -> RefVideo:
    """The video with its faults noted. `known`: its objects, where a list says them."""
    errors = [*order_faults(name, video.frames), *_misplaced(video)]
    if not video.frames:
        errors.append(f"video {name!r} lists no frames: list those to answer")
    if not video.items:
        errors.append(f"video {name!r} has no expression: write one, or remove the video from the lists")
    for item in video.items:
        if not item.text.strip():
            errors.append(f"video {name!r}: expression {item.expression_id!r} is empty: write the words")
        if known is not None and item.object_id is not None and item.object_id not in known:
            there = ", ".join(map(str, sorted(known))) or "none"
            errors.append(
                f"video {name!r}: expression {item.expression_id!r} refers to object {item.object_id}, which meta.json "
                f"does not have (objects there: {there}): correct the object id, or remove the expression"
            )
    return replace(video, errors=tuple(errors), remarks=tuple(_gaps(name, video)))


def _misplaced(video: RefVideo) -> Iterator[str]:
    """Expressions that mean another object than those of the other annotators in their place of the list do.

    Objects are listed in the order of their ids as text (1, 10, 2), and ids may be missing: an id is no place.
    """
    places: dict[int, list[RVOSItem]] = {}
    for item in video.items:
        if item.annotator is not None:
            places.setdefault(int(item.expression_id) // len(ANNOTATORS), []).append(item)
    taken: set[int | None] = set()
    for place, items in places.items():
        usual, _ = Counter(item.object_id for item in items).most_common(1)[0]
        if usual in taken:
            where = f"video {items[0].video!r}: object {usual}"
            yield f"{where} has the expressions of two places of the list: correct the object ids of place {place}"
        taken.add(usual)
        for item in items:
            if item.object_id != usual:
                which = f"video {item.video!r}: expression {item.expression_id!r} refers to object {item.object_id}"
                yield (
                    f"{which}, but by its number (4 * place + annotator) it is that of annotator {item.annotator} for "
                    f"object {usual}: correct the object id"
                )


def _gaps(name: str, video: RefVideo) -> list[str]:
    """Objects without an expression of each annotator: in that run nothing is said of them."""
    said = {(item.object_id, item.annotator) for item in video.items if item.annotator is not None}
    return [
        f"video {name!r}: annotator {annotator} has no expression for object {k}: it stays empty in that run"
        for k in sorted({k for k, _ in said if k is not None})
        for annotator in range(len(ANNOTATORS))
        if (k, annotator) not in said
    ]


def _text_layout(root: Path, folder: Path, split: str, resolution: str) -> RefLayout:
    davis = davis_layout(root, 2017, "val" if split == "valid" else split, resolution)
    rows: dict[str, dict[int, tuple[int, str]]] = {name: {} for name in davis.videos}
    for annotator, name in enumerate(ANNOTATORS):
        for video, k, text in _text_lines(folder / f"Davis17_{name}.txt"):
            number = len(ANNOTATORS) * (k - 1) + annotator
            if number in rows.get(video, {}):
                raise ValueError(f"{folder}/Davis17_{name}.txt: object {k} of {video} occurs twice: remove one line")
            if video in rows:
                rows[video][number] = (k, text)
    videos = {}
    for name in davis.videos:
        frames = tuple(list_frames(davis.images / name)) if (davis.images / name).is_dir() else ()
        items = (_by_annotator(name, frames, str(n), text, k) for n, (k, text) in sorted(rows[name].items()))
        videos[name] = _checked(name, RefVideo(frames, tuple(items)), None)
    truth = davis.masks.parent.with_name("Annotations_unsupervised") / davis.masks.name
    return RefLayout(davis.images, davis.masks, videos, truth=truth)


def _text_lines(path: Path) -> list[tuple[str, int, str]]:
    """Video, object and words of each line. Some of the original files are in Latin-1."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: Ref-DAVIS17 has the expressions of four annotators, restore it")
    content = path.read_bytes()
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        lines = content.decode("latin-1").splitlines()
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        match = LINE.match(line)
        if match is None or int(match[2]) < 1:
            raise ValueError(f'{path}, line {number}: expected `video object "words"`, got {line!r}: correct it')
        found.append((match[1], int(match[2]), match[3]))
    return found
