"""Prediction on a user's own pictures: a folder of masks, overlays, a preview and an account."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from benchmarks.masks.png import write_labels, write_mask
from fewshot.inference.model import Model, load, untrained
from fewshot.inference.output_folder import PROGRAM, RESULTS, earlier_files, refuse_inside, written_whole
from fewshot.inference.previews import Album, Animation, label_overlay, still
from fewshot.inference.request import Request, refuse_unreadable
from fewshot.inference.segmenter import Referent, Result, Segmenter
from fewshot.inference.supports import Support
from fewshot.media.media import Media
from fewshot.media.photographs import picture_files
from fewshot.media.reading import open_frames, open_media
from fewshot.run.processes import choose_device

TOLD = 3  # photographs that a message names
LONGEST_JPEG = 65500  # pixels of a side, the format's limit


class Unreadable(ValueError):
    """Some photographs could not be read; the others have been segmented."""


@dataclass
class Account:
    """Entries of `results.json` on the frames and on what could not be read, collected while masks are written."""

    frames: list[dict[str, Any]] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    preview: str | None = None

    def add(self, result: Result, t: int, segmenter: Segmenter) -> None:
        """Sizes (height, width), and the score and the pixels of every class in frame `t`."""
        scores = {name: round(float(score), 4) for name, score in zip(result.names, result.scores[:, t], strict=True)}
        pixels = {name: int(mask[t].sum()) for name, mask in zip(result.names, result.masks, strict=True)}
        size = (result.labels.shape[-2], result.labels.shape[-1])
        sizes = {"size": list(size), "network_size": list(segmenter.fit.target(size))}
        self.frames.append({"frame": result.frame_names[t], **sizes, "scores": scores, "pixels": pixels})


def predict(request: Request) -> Path:
    """Segment the input and write masks, overlays and `results.json`. Returns the folder.

    The folder is written as a whole: after an error it is as it was.

    Raises:
        Unreadable: of several photographs some could not be read; the folder holds the others.
        FileExistsError: the folder is not empty, or holds files that `fewshot.predict` did not write.
        ValueError, FileNotFoundError, TypeError: as `load` and `Model.segment`.
    """
    earlier = earlier_files(request.out, request.overwrite)
    for key, path in read_from(request):
        refuse_inside(request.out, key, path)
    device = choose_device(request.device)
    media = opened(request)
    refuse_unreadable([path.stem for path in media] if isinstance(media, list) else media.frame_names)
    model = model_of(request, device)
    segmenter = model.segmenter(
        request.support,
        request.text,
        classes=request.classes,
        first_masks=request.first_mask,
        size=request.size,
        min_score=request.min_score,
        largest_component=request.largest_component,
        fill_holes=request.fill_holes,
    )
    with written_whole(request.out, earlier) as folder:
        account = Account()
        if isinstance(media, list):
            write_photographs(segmenter, media, folder, account, request)
        else:
            write_media(segmenter, media, folder, account, request)
        write_account(folder, account, head(model, segmenter, request))
    if account.unreadable:
        total = len(account.unreadable) + len(account.frames)
        more = f"; all of them are in {request.out / RESULTS}" if len(account.unreadable) > TOLD else ""
        raise Unreadable(
            f"{len(account.unreadable)} of {total} photographs: {'; '.join(account.unreadable[:TOLD])}{more}"
        )
    return request.out


def read_from(request: Request) -> Iterator[tuple[str, Path]]:
    """The files and folders that are read, each with its key."""
    yield "input", Path(request.input).expanduser()
    groups = request.support.values() if isinstance(request.support, Mapping) else [request.support or []]
    for support in (entry for group in groups for entry in group):
        for place in (support.image, support.mask) if isinstance(support, Support) else ():
            if isinstance(place, (str, Path)):
                yield "support", Path(place).expanduser()
    masks = request.first_mask.values() if isinstance(request.first_mask, Mapping) else [request.first_mask]
    for place in masks:
        if place is not None:
            yield "first_mask", Path(place).expanduser()


def opened(request: Request) -> Media | list[Path]:
    """One image or video, or the files of several photographs.

    Raises:
        ValueError, FileNotFoundError: as `open_media` and `picture_files`; or frames are told of and there are none.
    """
    files = picture_files(request.input)
    if files is not None and not request.video and request.first_mask is not None:
        raise ValueError(f"first_mask is for a video, and input={request.input} are photographs: add video=true")
    if files is not None:
        return open_frames(files, request.input) if request.video else files
    media = open_media(request.input)
    if request.video and media.still:
        raise ValueError(f"video=true, and input={request.input} is one image: give the folder of the frames")
    return media


def model_of(request: Request, device: torch.device) -> Model:
    """The trained model, or the system that needs no training."""
    if request.system is not None:
        return untrained(request.system, device=device, adaptation=request.adaptation)
    assert request.weights is not None  # one of them is given
    return load(request.weights, text_weights=request.text_weights, device=device, adaptation=request.adaptation)


def write_media(segmenter: Segmenter, media: Media, folder: Path, account: Account, request: Request) -> None:
    """Masks and overlays of an image, or of every frame of a video as they come; then the preview."""
    animation = None if media.still or request.preview == "none" else Animation(media.frames_per_second)
    for image, result, t in frames_of(segmenter, media, request.chunk):
        write_frame(folder, image, result, t)
        account.add(result, t, segmenter)
        if animation is not None:
            animation.add(image, result, t)
        if media.still:
            account.preview = "preview.png"
            still(image, result, segmenter.referents).save(folder / account.preview)
    if animation is not None:
        account.preview = f"preview.{request.preview}"
        animation.save(folder / account.preview)


def frames_of(segmenter: Segmenter, media: Media, chunk: int) -> Iterator[tuple[np.ndarray, Result, int]]:
    """Every frame `(H, W, 3)` uint8 with the result that holds it, and its place there."""
    with tqdm(total=media.length, unit="frame", disable=media.still or None) as bar:
        for frames, result in segmenter.results(media, chunk):
            yield from ((as_image(frame), result, t) for t, frame in enumerate(frames))
            bar.update(len(frames))


def write_photographs(
    segmenter: Segmenter, files: Iterable[Path], folder: Path, account: Account, request: Request
) -> None:
    """Masks and overlays of photographs of any sizes, one forward pass each; then the preview, which shows some."""
    album = Album()
    for path in tqdm(files, unit="photograph", disable=None):
        try:
            media = open_media(path)
            if not media.still:
                raise ValueError(f"{path} is animated: give it alone")
        except ValueError as error:  # the others are still wanted; it is told at the end
            account.unreadable.append(str(error))
            continue
        for image, result, t in frames_of(segmenter, media, 1):
            write_frame(folder, image, result, t)
            account.add(result, t, segmenter)
            album.add(image, result)
    if not account.frames:
        raise ValueError(f"input={request.input}: none of the photographs can be read: {account.unreadable[0]}")
    if request.preview != "none":
        account.preview = "preview.png"
        album.page(segmenter.referents).save(folder / account.preview)


def as_image(frame: Tensor) -> np.ndarray:
    """A frame `(3, H, W)` uint8 as `(H, W, 3)`."""
    return frame.permute(1, 2, 0).numpy()


def write_frame(folder: Path, image: np.ndarray, result: Result, t: int) -> None:
    """Mask and overlay of one frame."""
    name, labels = result.frame_names[t], result.labels[t].numpy()
    write = write_mask if len(result.names) == 1 else write_labels
    write(folder / "masks" / f"{name}.png", labels)
    (folder / "overlays").mkdir(exist_ok=True)
    look = Image.fromarray(label_overlay(image, labels))
    look.thumbnail((LONGEST_JPEG, LONGEST_JPEG))  # leaves all others as they are
    look.save(folder / "overlays" / f"{name}.jpg", quality=90)


def head(model: Model, segmenter: Segmenter, request: Request) -> dict[str, Any]:
    """Entries of `results.json` that hold for every frame."""
    return {
        "program": PROGRAM,
        "system": model.name,
        "weights": request.weights,
        "settings": None if request.system is None else asdict(request.system),
        "adaptation": None if model.adaptation is None else asdict(model.adaptation),
        "input": request.input,
        "rule": str(model.rule.at(request.size)),
        "chunk": request.chunk,
        "min_score": request.min_score,
        "largest_component": request.largest_component,
        "fill_holes": request.fill_holes,
        "things": [thing(k, referent) for k, referent in enumerate(segmenter.referents, 1)],
    }


def thing(label: int, referent: Referent) -> dict[str, Any]:
    """One class or expression: its id in the masks, its words and its supports."""
    supports = [clip.video for clip in referent.supports]
    return {"label": label, "name": referent.name, "text": referent.expression, "supports": supports}


def write_account(folder: Path, account: Account, head: Mapping[str, Any]) -> None:
    """Write `results.json`."""
    content = {**head, "preview": account.preview, "unreadable": account.unreadable, "frames": account.frames}
    (folder / RESULTS).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def told(out: Path) -> str:
    """Summary for the terminal: what was found, and where it is."""
    content: Mapping[str, Any] = json.loads((out / RESULTS).read_text(encoding="utf-8"))
    frames, lines = content["frames"], []
    for entry in content["things"]:
        name = entry["name"]
        seen = [frame for frame in frames if frame["pixels"][name]]
        mean = sum(frame["scores"][name] for frame in frames) / len(frames)
        lines.append(f"{name}: found in {len(seen)} of {len(frames)} frame(s), mean score {mean:.2f}")
    return "\n".join([*lines, f"written: {out}/masks, {out}/overlays, {out}/{content['preview'] or RESULTS}"])
