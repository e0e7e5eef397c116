"""`python -m fewshot.predict weights=… input=… support=…:… out=…`: segment images and videos of your own.

The folder `out` then holds `masks/` (0 and 255 for one thing, a palette PNG of ids for several), `overlays/`, a
`preview` (a still of an image, an animation of a video) and `results.json`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Union

from episodes.cli import key_values, refuse_missing
from fewshot.cli.checks import check_device
from fewshot.cli.program import short_errors
from fewshot.inference.chunks import DEFAULT_CHUNK
from fewshot.inference.predict import Request, predict, told
from fewshot.inference.supports import Support

KEYS = {
    "weights": "run folder, converted or saved folder, or a name on the Hugging Face Hub",
    "input": "an image, a folder of frames, or a video file",
    "support": "image:mask, or class=image:mask; again for each support. image:mask#2 takes object 2 of the mask",
    "text": "the words that refer to the thing, or class=words; again for each expression",
    "out": "folder to write",
    "size": "side of the frames that the network sees, in pixels; as trained where it is not given",
    "chunk": f"frames of one forward pass ({DEFAULT_CHUNK})",
    "min_score": "frames with a lower score get an empty mask, 0 to 1 (0)",
    "preview": "of a video: gif, webp or none (gif)",
    "device": "auto, cpu, cuda or cuda:N (auto)",
    "text_weights": "folder with the tokenizer of a RoBERTa or BERT system, where the stored path is not valid here",
    "overwrite": "true: write although out is not empty (false)",
}
NEEDED = ("weights", "input", "out")
REPEATED = ("support", "text")
PREVIEWS = ("gif", "webp", "none")
EXAMPLES = """Examples:
  one image, one support with its mask:
    python -m fewshot.predict weights=runs/NAME input=photo.jpg support=a.jpg:a.png out=found
  two classes in a video, the second with two supports:
    python -m fewshot.predict weights=runs/NAME input=clip.mp4 out=found \\
        support=cat=a.jpg:a.png support=dog=b.jpg:b.png support=dog=c.jpg:c.png
  words beside the support, in a folder of frames:
    python -m fewshot.predict weights=runs/NAME input=frames/ out=found \\
        support=a.jpg:a.png text="the dog on the left\""""

Named = Union[list, dict]


def parse(arguments: Sequence[str]) -> Request:
    """The command line. Raises ValueError that names the word and says what is valid."""
    values = key_values(arguments, KEYS, REPEATED)
    refuse_missing(NEEDED, values)
    typed: dict[str, Any] = {key: convert(key, given[0]) for key, given in values.items() if key not in REPEATED}
    if "support" in values:
        typed["support"] = named("support", values["support"], support_of)
    if "text" in values:
        typed["text"] = one_each(named("text", values["text"], str))
    return Request(**typed)


def convert(key: str, value: str) -> Any:
    """One value with its type."""
    numbers: dict[str, tuple[type, str]] = {
        "size": (int, "a whole number of at least 1"),
        "chunk": (int, "a whole number of at least 1"),
        "min_score": (float, "a number between 0 and 1"),
    }
    choices = {"preview": PREVIEWS, "overwrite": ("true", "false")}
    if key in choices and value not in choices[key]:
        raise ValueError(f"{key}={value}: valid are {', '.join(choices[key])}")
    if key == "device":
        check_device(value)
    if key not in numbers:
        return Path(value).expanduser() if key == "out" else value == "true" if key == "overwrite" else value
    kind, meaning = numbers[key]
    try:
        number = kind(value)
    except ValueError as error:
        raise ValueError(f"{key}={value}: give {meaning}") from error
    if (kind is int and number < 1) or not 0 <= number < float("inf"):
        raise ValueError(f"{key}={value}: give {meaning}")
    return number


def named(key: str, words: Sequence[str], read: Callable[[str], Any]) -> Named:
    """`class=value` words as lists by class, words without a class as one list; not both."""
    matches = [re.fullmatch(r"([^=:/\\]+)=(.+)", word, re.DOTALL) for word in words]
    if not any(matches):
        return [read(word) for word in words]
    if not all(matches):
        alone = words[matches.index(None)]
        raise ValueError(f"{key}={alone} names no class, but others do: write {key}=class=... for all or for none")
    table: dict[str, list] = {}
    for match in matches:
        if match is not None:
            table.setdefault(match[1], []).append(read(match[2]))
    return table


def one_each(texts: Named) -> list[str] | dict[str, str] | str:
    """Texts as `System.segment` takes them: one alone, several, or one for each class."""
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


def help_text() -> str:
    """What `--help` prints."""
    rows = [f"  {key:<13} {meaning}" for key, meaning in KEYS.items()]
    return "\n".join([__doc__ or "", "Keys:", *rows, "", EXAMPLES])


def main() -> None:
    """Entry point."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(help_text())
        return
    with short_errors():
        print(told(predict(parse(sys.argv[1:]))))


if __name__ == "__main__":
    main()
