"""Predicted masks on disk, in the layouts that the servers and toolkits of the benchmarks read.

`RESULT_LAYOUTS` has one per benchmark. `write_masks` is the layout of the CMA code: `<video>/<expression id>/`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.masks.png import read_labels, write_labels, write_mask
from episodes.task_items import RVOSItem, VOSItem
from episodes.whole_files import replacing

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
SHOWN = 3  # names in a message before it says how many more there are
EPOCH = (1980, 1, 1, 0, 0, 0)  # the date of every file in a zip: the same files make the same zip


@dataclass(frozen=True)
class ResultLayout:
    """Layout of the results that a benchmark asks for.

    Attributes:
        folder: folder of one item's PNGs, with `{video}`, `{expression_id}` and `{annotator}` of the item.
        palette: palette PNGs whose values are object ids; else greyscale PNGs of 0 and 255.
        source: who describes the layout.
    """

    folder: str
    palette: bool
    source: str


RESULT_LAYOUTS: dict[str, ResultLayout] = {
    "davis16": ResultLayout("{video}", True, "the DAVIS toolkit"),
    "davis17": ResultLayout("{video}", True, "the DAVIS toolkit"),
    "youtube_vos": ResultLayout("Annotations/{video}", True, "the YouTube-VOS server"),
    "lvos": ResultLayout("Annotations/{video}", True, "the LVOS server"),
    "mose": ResultLayout("{video}", True, "the MOSE server"),
    "vos_folder": ResultLayout("{video}", True, "no benchmark: as DAVIS"),
    "ref_davis17": ResultLayout("anno_{annotator}/{video}", True, "four runs of the DAVIS toolkit"),
    "ref_youtube_vos": ResultLayout("Annotations/{video}/{expression_id}", False, "the Ref-YouTube-VOS server"),
    "mevis": ResultLayout("{video}/{expression_id}", False, "the MeViS server"),
    "synthetic_vos": ResultLayout("{video}", True, "no benchmark: as DAVIS"),
    "viposeg": ResultLayout("Annotations/{video}", True, "the code of UniVS"),
    "synthetic_pvos": ResultLayout("Annotations/{video}", True, "no benchmark: as VIPOSeg"),
    "synthetic_rvos": ResultLayout("Annotations/{video}/{expression_id}", False, "no benchmark: as Ref-YouTube-VOS"),
}


def result_folder(benchmark: str, folder: Path | str, item: VOSItem | RVOSItem) -> Path:
    """Folder of an item's PNGs under `folder`.

    Raises:
        ValueError: the benchmark has no layout, an item of another task, or a name that would leave its folder.
    """
    layout = _layout(benchmark)
    fields = {key: getattr(item, key, None) for key in ("video", "expression_id", "annotator")}
    wanted = {key: value for key, value in fields.items() if f"{{{key}}}" in layout.folder}
    if absent := [key for key, value in wanted.items() if value is None]:
        raise ValueError(
            f"results of {benchmark} go to {layout.folder}, but the item of {item.video!r} has no {absent[0]}"
        )
    return Path(folder) / layout.folder.format(**{key: _part(str(value)) for key, value in wanted.items()})


def write_results(
    benchmark: str, folder: Path | str, item: VOSItem | RVOSItem, frames: Sequence[str], masks: NDArray
) -> list[Path]:
    """Write masks `(T, H, W)` of an item where the benchmark wants them; returns the paths, in the order of `frames`.

    Args:
        frames: names of the `T` frames, some or all of the item's.
        masks: object ids in 0..255 for a palette layout (Ref-DAVIS17: objects 1..n of one annotator together), bool
            for the others. At the original size.

    Raises:
        ValueError: as `result_folder`; a frame that the item does not have; numbers that do not agree.
    """
    if len(frames) != len(masks):
        raise ValueError(f"video {item.video!r}: {len(frames)} frame names for {len(masks)} masks")
    if unknown := sorted(set(frames) - set(item.frames)):
        raise ValueError(f"video {item.video!r} has no frame {_some(unknown)}")
    target = result_folder(benchmark, folder, item)
    return _write(target, frames, masks, _layout(benchmark).palette)


def answered_frames(item: VOSItem | RVOSItem) -> tuple[str, ...]:
    """Frames that need a result: all, or from the first given mask on."""
    if isinstance(item, RVOSItem):
        return item.frames
    return item.frames[min(item.frames.index(frame) for frame in item.given) :]


def check_submission(
    benchmark: str, folder: Path | str, items: Iterable[VOSItem | RVOSItem], *, read: bool = False
) -> list[str]:
    """Faults of results before they are scored or sent, one sentence each; empty: nothing is wrong.

    Names missing folders and frames, and files that belong to no item. With `read` every PNG is opened: those that
    are broken, of several sizes in one folder, or hold values that are no object of the item are named too.

    Raises:
        ValueError: as `result_folder`.
    """
    folder = Path(folder)
    expected: dict[Path, list[VOSItem | RVOSItem]] = {}
    for item in items:
        expected.setdefault(result_folder(benchmark, folder, item), []).append(item)
    if not folder.is_dir():
        return [f"folder {folder} is missing: write the results first"]
    found: list[str] = []
    for target, group in expected.items():
        found += _missing(target, answered_frames(group[0]))
        if read and target.is_dir():
            found += _unfit(target, _values(_layout(benchmark), group))
    return found + _strangers(folder, {t / f"{f}.png" for t, group in expected.items() for f in group[0].frames})


def zip_folder(folder: Path | str, target: Path | str | None = None) -> Path:
    """Zip what `folder` holds, for a server; the same files give the same bytes. Returns the path of the zip.

    Args:
        target: the zip to write; None is `<folder>.zip`. One that is there is replaced when the new one is complete.

    Raises:
        ValueError: no folder, an empty one, or a target inside of it.
    """
    folder = Path(folder)
    target = folder.with_name(f"{folder.name}.zip") if target is None else Path(target)
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    if not files:
        raise ValueError(f"{folder} holds no file: write the results first")
    if folder.resolve() in target.resolve().parents:
        raise ValueError(f"{target} lies inside {folder}, which it is made of: give a place outside")
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), EPOCH)
            entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o644 << 16
            archive.writestr(entry, path.read_bytes())
    return target


def write_masks(
    folder: Path | str,
    video: str,
    expression_id: str,
    frames: Sequence[str],
    masks: NDArray,
    *,
    palette: bool = False,
) -> list[Path]:
    """Write the masks `(T, H, W)` of one query and return the paths of the files, in frame order.

    They go to `<folder>/<video>/<expression id>/<frame>.png`, as the CMA code writes them.

    Args:
        frames: names of the `T` frames, with or without the suffix of an image file.
        masks: bool for greyscale PNGs of 0 and 255; ids in 0..255 with `palette`.
        palette: write palette PNGs with the ids as values.

    Raises:
        ValueError: the number of frame names is not that of the masks, or a name would leave its folder.
    """
    if len(frames) != len(masks):
        raise ValueError(f"video {video!r}: {len(frames)} frame names for {len(masks)} masks")
    return _write(Path(folder) / _part(video) / _part(expression_id), frames, masks, palette)


def _write(target: Path, frames: Sequence[str], masks: NDArray, palette: bool) -> list[Path]:
    paths = [target / f"{_part(_stem(frame))}.png" for frame in frames]
    write = write_labels if palette else write_mask
    for path, mask in zip(paths, masks, strict=True):
        write(path, mask)
    return paths


def _layout(benchmark: str) -> ResultLayout:
    if benchmark not in RESULT_LAYOUTS:
        raise ValueError(f"no result layout for {benchmark!r}; there are: {', '.join(RESULT_LAYOUTS)}")
    return RESULT_LAYOUTS[benchmark]


def _values(layout: ResultLayout, group: Sequence[VOSItem | RVOSItem]) -> frozenset[int]:
    """The values that the PNGs of one folder may hold.

    Several expressions share a folder in Ref-DAVIS17. Other programs number them from 1 on instead of by object.
    """
    if not layout.palette:
        return frozenset({0, 255})
    ids = (item.objects if isinstance(item, VOSItem) else (item.object_id or 0,) for item in group)
    return frozenset(range(len(group) + 1 if isinstance(group[0], RVOSItem) else 1)).union(*ids)


def _missing(folder: Path, frames: Sequence[str]) -> Iterator[str]:
    if not folder.is_dir():
        yield f"folder {folder} is missing: it must hold {len(frames)} frames"
        return
    there = {path.name for path in folder.iterdir()}
    if absent := [f"{frame}.png" for frame in frames if f"{frame}.png" not in there]:
        yield f"{folder} has no {_some(absent)}: every frame needs a result"


def _unfit(folder: Path, values: frozenset[int]) -> Iterator[str]:
    shapes: dict[tuple[int, ...], Path] = {}
    for path in sorted(folder.glob("*.png")):
        try:
            labels = read_labels(path)
        except ValueError as error:
            yield str(error)
            continue
        shapes.setdefault(labels.shape, path)
        if strange := sorted(set(np.unique(labels).tolist()) - values):
            yield f"{path} holds the values {_some(strange)}, but only {_some(sorted(values), 20)} are expected"
    if len(shapes) > 1:
        several = ", ".join(f"{path.name} is {h}x{w}" for (h, w), path in shapes.items())
        yield f"{folder} has masks of several sizes ({several}): write them at the size of the video"


def _strangers(folder: Path, expected: set[Path]) -> list[str]:
    """Files that no item asks for: a server may refuse them."""
    strange = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    strange = [name for name in strange if folder / name not in expected]
    return [f"{folder} holds files of no item: {_some(strange)}: remove them"] if strange else []


def _some(names: Sequence[object], shown: int = SHOWN) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(map(str, names[:shown])) + more


def _stem(frame: str) -> str:
    """The name without the suffix of an image file (other dots belong to the name)."""
    suffix = Path(frame).suffix
    return frame[: -len(suffix)] if suffix.lower() in IMAGE_SUFFIXES else frame


def _part(name: str) -> str:
    if not name or name in (".", "..") or "/" in name or "\\" in name:
        raise ValueError(f"{name!r} cannot be the name of a mask file or of its folder")
    return name
