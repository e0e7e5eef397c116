"""Embeddings of classes: those of the released file, of a file of one's own, or made by a text tower and kept.

Legend: N classes, D width of the text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from episodes.sources.files import cache_folder
from episodes.whole_files import replacing
from fewshot.systems.univs.templates import clean_name
from fewshot.systems.univs.text_tower import TextTower
from fewshot.weights.checkpoint import CheckpointError
from fewshot.weights.files import read_pickle
from fewshot.weights.load import check_finite

ROWS = {  # data set: first row, number of classes
    "imagenet": (0, 1000),
    "lvis": (1000, 1203),
    "burst": (1000, 1203),
    "ytvis21": (2203, 40),
    "youtube_vis21": (2203, 40),
    "ovis": (2243, 25),
    "bdd_track": (2268, 8),
    "objects365": (2276, 365),
    "coco_panoptic": (2641, 133),
    "coco": (2641, 80),
    "ade20k": (2774, 150),
    "vipseg": (2924, 124),
    "vspw": (2924, 124),
    "viposeg": (2924, 124),
    "ytvis19": (3048, 40),
    "youtube_vis19": (3048, 40),
    "entityseg_instance": (3088, 206),
    "entityseg_panoptic": (3294, 644),
}
FOLDER, TENSOR, WORDS, HASH = "concepts", "embeddings", "words", "made_of"
HOW = "give the model a CLIP that makes them (system.text=clip system.text_weights=FOLDER)"


def slice_of(data: str) -> slice:
    """Rows of a data set in the official embeddings of all classes.

    Raises:
        ValueError: it has none; the message names those that have.
    """
    if data not in ROWS:
        raise ValueError(f"no class embeddings of {data!r} among the official ones: choose one of {', '.join(ROWS)}")
    first, count = ROWS[data]
    return slice(first, first + count)


@dataclass(frozen=True)
class Concepts:
    """Embeddings of classes from a file.

    Attributes:
        embeddings: `(N, D)`.
        words: names of the classes; None: the official file, which has none, but one slice for each data set.
        source: the file, for messages.
    """

    embeddings: Tensor
    words: tuple[str, ...] | None
    source: str

    def of(self, names: Sequence[str], data: str | None = None) -> Tensor:
        """Embeddings `(n, D)` of `n` classes.

        Args:
            names: of the classes; of an official file those of `data`, all of them, in its own order.
            data: the data set, see `ROWS`.

        Raises:
            ValueError: there are none of some of them; the message names these and how to make them.
        """
        if self.words is None:
            return self._rows(names, data)
        rows = {clean_name(word): n for n, word in enumerate(self.words)}
        missing = [name for name in names if clean_name(name) not in rows]
        if missing:
            raise ValueError(no_embeddings(missing, len(names), f"in {self.source}"))
        return self.embeddings[[rows[clean_name(name)] for name in names]]

    def _rows(self, names: Sequence[str], data: str | None) -> Tensor:
        if data is None or data not in ROWS:
            known = f"these are of the data sets {', '.join(ROWS)}"
            raise ValueError(no_embeddings(names, len(names), f"in {self.source} ({known})"))
        rows = slice_of(data)
        if rows.stop - rows.start != len(names):
            raise ValueError(
                f"{self.source} has {rows.stop - rows.start} classes of {data} and {len(names)} are asked for: ask for "
                f"all of them in the order of the data set, or {HOW}"
            )
        if rows.stop > len(self.embeddings):
            raise ValueError(
                f"{self.source} ends at row {len(self.embeddings)}, before those of {data}: take a later file"
            )
        return self.embeddings[rows]


def no_embeddings(missing: Sequence[str], asked: int, where: str) -> str:
    """Message about classes that have no embeddings: which, and how to make them."""
    named = ", ".join(map(repr, missing[:10])) + (", ..." if len(missing) > 10 else "")
    return f"no embeddings {where} of {len(missing)} of {asked} classes ({named}): {HOW}"


def read_concepts(path: str | Path) -> Concepts:
    """Embeddings in a file that `write_concepts` wrote, or in the official one, a single tensor.

    Raises:
        FileNotFoundError: there is none.
        CheckpointError: it is damaged or something else.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no class embeddings at system.concepts={path}")
    if path.suffix == ".safetensors":
        return _read_own(path)[0]
    embeddings = read_pickle(path)
    if not isinstance(embeddings, Tensor) or embeddings.ndim != 2:
        raise CheckpointError(f"{path} holds no class embeddings: expected one tensor with a row for each class")
    check_finite({TENSOR: embeddings}, str(path))
    return Concepts(embeddings.float(), None, str(path))


def _read_own(path: Path) -> tuple[Concepts, str]:
    """Embeddings of our own, and the hash of what they were made of."""
    try:
        with safe_open(path, "pt") as file:
            said = file.metadata() or {}
            words, made_of, embeddings = tuple(said[WORDS].split("\n")), said[HASH], file.get_tensor(TENSOR)
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or holds no class embeddings ({error}): remove it") from error
    if len(words) != len(embeddings):
        raise CheckpointError(f"{path} is damaged ({len(words)} words, {len(embeddings)} rows): remove it")
    return Concepts(embeddings, words, str(path)), made_of


def write_concepts(path: Path, words: Sequence[str], embeddings: Tensor, made_of: str) -> None:
    """Write embeddings `(N, D)` of `N` classes as a whole or not at all.

    Raises:
        ValueError: a word has a line break.
        OSError: the disk is full, or the folder cannot be written.
    """
    if any("\n" in word for word in words):
        raise ValueError("the name of a class has a line break")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        save_file({TENSOR: embeddings.contiguous()}, partial, {WORDS: "\n".join(words), HASH: made_of})
        partial.chmod(0o644)  # safetensors writes files that only their owner can read


def made_by(tower: TextTower, words: Sequence[str], cache: Path | str | None = None) -> Tensor:
    """Embeddings `(N, D)` of classes by a tower; those of one that does not learn are kept in a file.

    The file's name is a hash of the tower's weights, the templates and the words.

    Args:
        cache: folder of generated data (`episodes.sources.files.cache_folder`).

    Raises:
        CheckpointError: the file is damaged.
    """
    fingerprint = tower.fingerprint
    if not fingerprint:
        return tower.embed_names(words)
    made_of = hashlib.sha256("\n".join([fingerprint, *words]).encode()).hexdigest()
    path = cache_folder(cache) / FOLDER / f"{made_of[:32]}.safetensors"
    if path.is_file():
        kept, of = _read_own(path)
        if of != made_of or kept.words != tuple(words):
            raise CheckpointError(f"{path} holds other class embeddings than its name says: remove it")
        return kept.embeddings
    embeddings = tower.embed_names(words).float().cpu()
    write_concepts(path, words, embeddings, made_of)
    return embeddings


def class_embeddings(
    names: Sequence[str], tower: TextTower | None, file: Concepts | None, data: str | None = None
) -> Tensor:
    """Embeddings `(N, D)` of classes: of the file where one is given, else by the tower.

    Raises:
        ValueError: neither has them; the message names the classes and how to make them.
    """
    if not names:
        raise ValueError("a vocabulary needs at least one class")
    if file is not None:
        return file.of(names, data)
    if tower is None:
        raise ValueError(no_embeddings(names, len(names), "without a text tower or a file"))
    return made_by(tower, names)
