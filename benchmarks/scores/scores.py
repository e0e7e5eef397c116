"""Scores of one query of one episode, `QueryScore` (a clip) and `ImageScore`, and their CSV and JSON forms."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Hashable, Sequence
from dataclasses import MISSING, astuple, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from episodes.plain_files import read_text

GIVE = "give the CSV or JSON report that meta_test wrote"


@dataclass(frozen=True)
class QueryScore:
    """One query expression of one episode. J and F are means over the query's frames, in 0..1.

    Attributes:
        seed: seed of the support draw.
        group: fold.
        probe: '' for the real number, else the sanity probe (`no_support`, `wrong_support`, `shuffled_text`, ...).
        episode: index of the episode.
        class_id, class_name: the class the supports show.
        video, expression_id, expression: the query.
        frames: number of frames scored (at least 1).
        j_cma, f_cma: at network resolution, boundary tolerance 0.010.
        j_davis, f_davis: at original resolution, boundary tolerance 0.008.
        twin: the video holds another object of the class of the one that is asked for (`Source.twins`).
    """

    KEY: ClassVar[str] = "seed, group, probe, episode, class, video, expression"
    seed: int
    group: int
    probe: str
    episode: int
    class_id: int
    class_name: str
    video: str
    expression_id: str
    expression: str
    frames: int
    j_cma: float
    f_cma: float
    j_davis: float
    f_davis: float
    twin: bool = False

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ValueError(
                f"episode {self.episode}, video {self.video!r}: {self.frames} frames scored, need 1 or more"
            )
        for name in ("j_cma", "f_cma", "j_davis", "f_davis"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"episode {self.episode}, video {self.video!r}: {name} must be in 0..1, got {value}")

    @property
    def key(self) -> tuple[int, int, str, int, int, str, str]:
        """Identity of the query, see `KEY`."""
        return self.seed, self.group, self.probe, self.episode, self.class_id, self.video, self.expression_id

    @property
    def unit(self) -> str:
        """The query video, which a bootstrap resamples."""
        return self.video


@dataclass(frozen=True)
class ImageScore:
    """The query image of one episode: counts at the resolution of the protocol, pixels to ignore left out.

    Attributes:
        seed: seed of the support draw.
        group: fold.
        probe: '' for the real number, else the sanity probe (`no_support`, `wrong_support`, ...).
        episode: index of the episode.
        class_id, class_name: the class the supports show.
        image: name of the query image.
        inter_bg, inter_fg: pixels that are background (foreground) in both prediction and truth.
        union_bg, union_fg: pixels that are background (foreground) in prediction or truth.
    """

    KEY: ClassVar[str] = "seed, group, probe, episode, class, image"
    seed: int
    group: int
    probe: str
    episode: int
    class_id: int
    class_name: str
    image: str
    inter_bg: int
    inter_fg: int
    union_bg: int
    union_fg: int

    def __post_init__(self) -> None:
        wrong_bg, wrong_fg = self.union_bg - self.inter_bg, self.union_fg - self.inter_fg
        # A wrong pixel is background in one mask and foreground in the other: it is in both unions.
        if min(self.inter_bg, self.inter_fg, wrong_bg) < 0 or wrong_bg != wrong_fg:
            counts = f"intersections {self.inter_bg}, {self.inter_fg}, unions {self.union_bg}, {self.union_fg}"
            raise ValueError(f"episode {self.episode}, image {self.image!r}: impossible pixel counts, {counts}")

    @property
    def key(self) -> tuple[int, int, str, int, int, str]:
        """Identity of the query, see `KEY`."""
        return self.seed, self.group, self.probe, self.episode, self.class_id, self.image

    @property
    def unit(self) -> str:
        """The query image, which a bootstrap resamples."""
        return self.image

    @property
    def frames(self) -> int:
        """An image is one frame."""
        return 1


Score = QueryScore | ImageScore
KINDS: tuple[type[QueryScore] | type[ImageScore], ...] = (QueryScore, ImageScore)


def columns_of(kind: type) -> list[str]:
    """Names of the columns in a file of scores of this kind."""
    return [field.name for field in fields(kind)]


def write_scores(path: Path, scores: Sequence[Score]) -> None:
    """Write one CSV line per query (at least one, all of one kind), numbers in full precision."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns_of(type(scores[0])))
        writer.writerows(astuple(score) for score in scores)


def read_scores(path: Path | str) -> list[Any]:
    """Read the scores of a run from its CSV, or from the `queries` entry of its JSON report.

    Returns:
        `QueryScore`s or `ImageScore`s, as the columns say.

    Raises:
        ValueError: the file is missing or broken, or is neither of the two; it is named.
    """
    path = _file(path)
    if path.suffix == ".json":
        content = _content(path)
        if "task" in content:
            raise ValueError(f"{path} is of a task, which has no episodes to compare: {GIVE}")
        return scores_from_json(content.get("queries"), path)
    try:
        rows = list(csv.reader(io.StringIO(read_text(path), newline="")))
    except csv.Error as error:
        raise ValueError(f"{path} is no CSV file ({error}): {GIVE}") from error
    return scores_from_json({"columns": rows[0], "rows": rows[1:]} if rows else None, path)


def read_report(path: Path | str) -> dict[str, Any]:
    """The content of a JSON report. Raises ValueError, naming the file, where it is missing or none."""
    return _content(_file(path))


def read_protocol(path: Path | str) -> tuple[str | None, str | None]:
    """The protocol that a JSON report names and the digest of its rules; None for what it does not say.

    A CSV holds scores only. Raises ValueError.
    """
    path = _file(path)
    content = _content(path) if path.suffix == ".json" else {}
    named, digest = content.get("protocol"), content.get("protocol_digest")
    for what, found in (("protocol", named), ("digest", digest)):
        if not isinstance(found, str | None):
            raise ValueError(f"{path} names the {what} {found!r}, which is no name: {GIVE}")
    return named, digest


def read_record(path: Path | str) -> dict[str, Any]:
    """What a JSON report says was tested (`run`); nothing for a CSV and a report without it. Raises ValueError."""
    path = _file(path)
    record = _content(path).get("run", {}) if path.suffix == ".json" else {}
    groups = record.get("groups", {}) if isinstance(record, dict) else None
    if not isinstance(groups, dict) or not all(isinstance(facts, dict) for facts in groups.values()):
        raise ValueError(f"{path} has a damaged record of what was tested (run): {GIVE}")
    return record


def scores_to_json(scores: Sequence[Score]) -> dict[str, Any]:
    """Column names once, then one list per query."""
    return {"columns": columns_of(type(scores[0])), "rows": [list(astuple(score)) for score in scores]}


def scores_from_json(data: Any, path: Path | str = "report") -> list[Any]:
    """The inverse of `scores_to_json`; `path` is named in the error."""
    table = data if isinstance(data, dict) else {}
    columns, rows = table.get("columns"), table.get("rows")
    columns = columns if isinstance(columns, list) else []
    # The kind whose columns are there; of a file that is no report, the kind that it comes closest to.
    kind, missing = min(((kind, _missing(kind, columns)) for kind in KINDS), key=lambda pair: len(pair[1]))
    if missing:
        raise ValueError(f"{path} holds no query scores: missing columns {', '.join(missing)}")
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"{path} holds no query scores, only the names of columns: {GIVE}")
    seen: set[Hashable] = set()
    scores = []
    for number, row in enumerate(rows, start=1):
        score = _score(kind, columns, row, f"{path}: query {number}")
        if score.key in seen:
            raise ValueError(f"{path}: query {number} is there twice, ({score.KEY}) = {score.key}: {GIVE}")
        seen.add(score.key)
        scores.append(score)
    return scores


def _score(kind: type, columns: list[Any], row: Any, where: str) -> Any:
    """The score that a row holds; `where` is named in the error."""
    if not isinstance(row, list) or len(row) != len(columns):
        values = f"{len(row)} of {len(columns)} values" if isinstance(row, list) else "no list of values"
        raise ValueError(f"{where} has {values}: the file is cut off")
    found = dict(zip(columns, row, strict=True))
    try:
        return kind(**{f.name: _TYPES[str(f.type)](found[f.name]) for f in fields(kind) if f.name in found})
    except ValueError as error:
        raise ValueError(f"{where} is broken ({error}): {GIVE}") from error


def _whole(value: Any) -> int:
    if not isinstance(value, int | str) or isinstance(value, bool):
        raise ValueError(f"{value!r} is no whole number")
    return int(value)


def _number(value: Any) -> float:
    if not isinstance(value, int | float | str) or isinstance(value, bool):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def _words(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value


def _yes_or_no(value: Any) -> bool:
    if value not in (True, False, "True", "False"):
        raise ValueError(f"{value!r} is neither True nor False")
    return value in (True, "True")


_TYPES: dict[str, Callable[[Any], Any]] = {"int": _whole, "float": _number, "str": _words, "bool": _yes_or_no}


def _missing(kind: type, columns: list[Any]) -> list[str]:
    """Columns that are not there. Those with a default came later: older files are read without them."""
    return [field.name for field in fields(kind) if field.default is MISSING and field.name not in columns]


def _file(path: Path | str) -> Path:
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} is not a file (a run has one when its test has ended): {GIVE}")
    return path


def _content(path: Path) -> dict[str, Any]:
    """The object in a JSON file; an empty one if it holds something else."""
    try:
        content = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON file ({error}): {GIVE}") from error
    return content if isinstance(content, dict) else {}
