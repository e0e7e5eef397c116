"""Prediction on a user's own pictures: a folder of masks, overlays, a preview and an account."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from benchmarks.masks.png import write_labels, write_mask
from fewshot.inference.chunks import DEFAULT_CHUNK
from fewshot.inference.model import Model, load
from fewshot.inference.previews import Animation, label_overlay, still
from fewshot.inference.segmenter import Referent, Result, Segmenter
from fewshot.inference.supports import Support
from fewshot.media.media import Media
from fewshot.media.reading import open_media
from fewshot.run.processes import choose_device

RESULTS = "results.json"


@dataclass(frozen=True)
class Request:
    """A call of `fewshot.predict`: inputs, references and numbers."""

    weights: str
    input: str
    out: Path
    support: Any = None
    text: Any = None
    size: int | None = None
    chunk: int = DEFAULT_CHUNK
    min_score: float = 0.0
    preview: str = "gif"
    device: str = "auto"
    text_weights: str | None = None
    overwrite: bool = False


def request_of(config: Any) -> Request:
    """A request from the keys of `python -m fewshot.predict`, with supports and expressions by class.

    Raises:
        ValueError: a support without a mask, or classes that are not clear; the word is named.
    """
    return Request(
        weights=config.weights,
        input=config.input,
        out=Path(config.out).expanduser(),
        support=named("support", config.support, support_of) if config.support else None,
        text=one_each(named("text", config.text, str)) if config.text else None,
        size=config.size,
        chunk=config.chunk,
        min_score=config.min_score,
        preview=config.preview,
        device=config.device,
        text_weights=config.text_weights,
        overwrite=config.overwrite,
    )


def named(key: str, words: Sequence[str], read: Callable[[str], Any]) -> list[Any] | dict[str, list[Any]]:
    """`class=value` words as lists by class, words without a class as one list; not both."""
    matches = [re.fullmatch(r"([^=:/\\]+)=(.+)", word, re.DOTALL) for word in words]
    if not any(matches):
        return [read(word) for word in words]
    if not all(matches):
        alone = words[matches.index(None)]
        raise ValueError(f"{key}={alone} names no class, but others do: write {key}=class=... for all or for none")
    table: dict[str, list[Any]] = {}
    for match in matches:
        if match is not None:
            table.setdefault(match[1], []).append(read(match[2]))
    return table


def one_each(texts: list[Any] | dict[str, list[Any]]) -> list[str] | dict[str, str] | str:
    """Texts as `Model.segment` takes them: one alone, several, or one for each class."""
    if isinstance(texts, list):
        return texts if len(texts) > 1 else texts[0]
    for name, given in texts.items():
        if len(given) > 1:
            raise ValueError(f"text={name}=... is given {len(given)} times: one expression for a class")
    return {name: given[0] for name, given in texts.items()}


def support_of(word: str) -> Support:
    """`image:mask` or `image:mask#id`."""
    image, colon, mask = word.rpartition(":")
    if not colon or not image or not mask:
        raise ValueError(f"support={word} has no mask: write support=image:mask, for instance support=a.jpg:a.png")
    with_id = re.fullmatch(r"(.+)#(\d+)", mask)
    if with_id is not None:
        return Support(image, with_id[1], object_id=int(with_id[2]))
    return Support(image, mask)


@dataclass
class Frames:
    """Entries of `results.json` on the frames, collected while they are written."""

    entries: list[dict[str, Any]] = field(default_factory=list)

    def add(self, result: Result, t: int) -> None:
        """Scores and pixels of every class in frame `t`."""
        scores = {name: round(float(score), 4) for name, score in zip(result.names, result.scores[:, t], strict=True)}
        pixels = {name: int(mask[t].sum()) for name, mask in zip(result.names, result.masks, strict=True)}
        self.entries.append({"frame": result.frame_names[t], "scores": scores, "pixels": pixels})


def predict(request: Request) -> Path:
    """Segment the input and write masks, overlays and `results.json`. Returns the folder.

    Raises:
        FileExistsError: the folder is not empty.
        ValueError, FileNotFoundError, TypeError: as `load` and `Model.segment`.
    """
    check_folder(request.out, request.overwrite)
    device = choose_device(request.device)
    media = open_media(request.input)
    model = load(request.weights, text_weights=request.text_weights, device=device)
    segmenter = model.segmenter(request.support, request.text, size=request.size, min_score=request.min_score)
    clear(request.out)
    request.out.mkdir(parents=True, exist_ok=True)
    frames, preview = segment_and_write(segmenter, media, request)
    content = account(model, media, segmenter, request) | {"preview": preview, "frames": frames.entries}
    (request.out / RESULTS).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return request.out


def segment_and_write(segmenter: Segmenter, media: Media, request: Request) -> tuple[Frames, str | None]:
    """Masks and overlays of every frame as they come, then the preview; returns the account and the preview's name."""
    frames, animation = Frames(), Animation(media.frames_per_second)
    animate = not media.still and request.preview != "none"
    last: tuple[np.ndarray, Result] | None = None
    with tqdm(total=media.length, unit="frame", disable=media.still or None) as bar:
        for names, chunk in media.chunks(request.chunk):
            result = segmenter(chunk, names)
            for t in range(len(chunk)):
                image = as_image(chunk[t])
                write_frame(request.out, image, result, t)
                frames.add(result, t)
                if animate:
                    animation.add(image, result, t)
                last = (image, result)
            bar.update(len(chunk))
    if media.still and last is not None:
        still(*last, segmenter.referents).save(request.out / "preview.png")
        return frames, "preview.png"
    if animate:
        animation.save(request.out / f"preview.{request.preview}")
        return frames, f"preview.{request.preview}"
    return frames, None


def as_image(frame: Tensor) -> np.ndarray:
    """A frame `(3, H, W)` uint8 as `(H, W, 3)`."""
    return frame.permute(1, 2, 0).numpy()


def write_frame(out: Path, image: np.ndarray, result: Result, t: int) -> None:
    """Mask and overlay of one frame."""
    name, labels = result.frame_names[t], result.labels[t].numpy()
    if len(result.names) == 1:
        write_mask(out / "masks" / f"{name}.png", labels)
    else:
        write_labels(out / "masks" / f"{name}.png", labels)
    (out / "overlays").mkdir(exist_ok=True)
    Image.fromarray(label_overlay(image, labels)).save(out / "overlays" / f"{name}.jpg", quality=90)


def account(model: Model, media: Media, segmenter: Segmenter, request: Request) -> dict[str, Any]:
    """Entries of `results.json` above those of the frames."""
    return {
        "program": "fewshot.predict",
        "system": model.name,
        "weights": request.weights,
        "input": request.input,
        "size": list(media.size),
        "network_size": list(segmenter.fit.target(media.size)),
        "chunk": request.chunk,
        "min_score": request.min_score,
        "things": [thing(k, referent) for k, referent in enumerate(segmenter.referents, 1)],
    }


def thing(label: int, referent: Referent) -> dict[str, Any]:
    """One class or expression: its id in the masks, its words and its supports."""
    supports = [clip.video for clip in referent.supports]
    return {"label": label, "name": referent.name, "text": referent.expression, "supports": supports}


def check_folder(out: Path, overwrite: bool) -> None:
    """Refuse to write over anything, but for what an earlier call wrote and only where that is asked for."""
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"out={out} is a file: give a folder, which is made where it does not exist")
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not overwrite:
        raise FileExistsError(f"out={out} is not empty: give another folder, or overwrite=true to write over it")
    if not (out / RESULTS).is_file():
        raise FileExistsError(
            f"out={out} holds files that fewshot.predict did not write ({RESULTS} is missing): give another folder"
        )


def clear(out: Path) -> None:
    """Remove what an earlier call wrote, frame by frame as its `results.json` names them; nothing else."""
    file = out / RESULTS
    if not file.is_file():
        return
    earlier = json.loads(file.read_text(encoding="utf-8"))
    for entry in earlier["frames"]:
        (out / "masks" / f"{entry['frame']}.png").unlink(missing_ok=True)
        (out / "overlays" / f"{entry['frame']}.jpg").unlink(missing_ok=True)
    if earlier["preview"]:
        (out / earlier["preview"]).unlink(missing_ok=True)
    file.unlink()


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
