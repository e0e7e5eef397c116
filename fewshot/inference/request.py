"""What a user asks of `fewshot.predict`: the words of the command line as supports, expressions and numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from fewshot.inference.chunks import DEFAULT_CHUNK
from fewshot.inference.supports import Support
from fewshot.systems.config import SystemConfig


@dataclass(frozen=True)
class Request:
    """A call of `fewshot.predict`: inputs, references and numbers.

    Attributes:
        weights: of a trained model; None: `system` is used as it is built.
        system: settings of a system that needs no training; None: that of the weights.
        adaptation: words of the command line on the adaptation to the supports; None: as the weights were trained.
        video: whether the pictures of a folder are the frames of one video; if not, they are photographs.
    """

    weights: str | None
    input: str
    out: Path
    support: Any = None
    text: Any = None
    classes: Any = None
    first_mask: Any = None
    system: SystemConfig | None = None
    adaptation: Sequence[str] | None = None
    video: bool = False
    size: int | None = None
    chunk: int = DEFAULT_CHUNK
    min_score: float = 0.0
    largest_component: bool = False
    fill_holes: bool = False
    preview: str = "gif"
    device: str = "auto"
    text_weights: str | None = None
    overwrite: bool = False


def request_of(config: Any, system: SystemConfig | None = None, adaptation: Sequence[str] | None = None) -> Request:
    """A request from the keys of `python -m fewshot.predict`, with supports and expressions by class.

    Raises:
        ValueError: a support without a mask, classes that are not clear, or a word that is not UTF-8; it is named.
    """
    refuse_unreadable([config.weights, config.input, config.out, *config.support, *config.text, *config.classes])
    refuse_unreadable(config.first_mask)
    same = {entry.name: getattr(config, entry.name) for entry in fields(Request)}
    return Request(
        **{
            **same,
            "out": Path(config.out).expanduser(),
            "support": named("support", config.support, support_of) if config.support else None,
            "text": one_each(named("text", config.text, str)) if config.text else None,
            "classes": list(config.classes) or None,
            "first_mask": first_masks_of(config.first_mask) if config.first_mask else None,
            "system": system,
            "adaptation": adaptation,
        }
    )


def refuse_unreadable(names: Iterable[str | None]) -> None:
    """Refuse names that no text file can hold: bytes of a file name that are not UTF-8. Raises ValueError."""
    for name in names:
        if name is not None and not name.isascii() and name.encode("utf-8", "replace").decode() != name:
            raise ValueError(f"the name {ascii(name)} is not UTF-8, so results.json could not hold it: rename the file")


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


def first_masks_of(words: Sequence[str]) -> str | dict[str, str]:
    """`first_mask=` words as `Model.segment` takes them: one file of ids, or a mask for each name."""
    masks = named("first_mask", words, str)
    if isinstance(masks, list):
        if len(masks) > 1:
            raise ValueError("first_mask is given several times without names: write first_mask=name=mask for each")
        return str(masks[0])
    for name, given in masks.items():
        if len(given) > 1:
            raise ValueError(f"first_mask={name}=... is given {len(given)} times: one mask for a thing")
    return {name: str(given[0]) for name, given in masks.items()}


def support_of(word: str) -> Support:
    """`image:mask` or `image:mask#id`."""
    image, colon, mask = word.rpartition(":")
    if not colon or not image or not mask:
        raise ValueError(f"support={word} has no mask: write support=image:mask, for instance support=a.jpg:a.png")
    with_id = re.fullmatch(r"(.+)#(\d+)", mask)
    if with_id is not None:
        return Support(image, with_id[1], object_id=int(with_id[2]))
    return Support(image, mask)
