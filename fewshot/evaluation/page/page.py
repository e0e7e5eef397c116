"""The page of a run: one HTML file without scripts that needs nothing beside it, neither a server nor a network."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from benchmarks.scores.scores import scores_from_json
from benchmarks.tables import percent
from episodes.whole_files import replacing
from fewshot._origin import VERSION
from fewshot.evaluation.page.chosen import Chosen, best_and_worst
from fewshot.evaluation.page.content import RESULTS, Content, Curve, read_content
from fewshot.evaluation.page.drawn import Drawn, Places, Redrawing
from fewshot.evaluation.page.tables import tables_of
from fewshot.run.flat import flat
from fewshot.weights.checkpoint import CheckpointError

PAGE = "report.html"  # in the run folder
MARK = '<meta name="generator" content="fewshot report">'  # in the head of every page that this program has written
HEAD = 2000  # characters in which the mark stands
SAVED = 8  # pictures of the run that are shown
MEGABYTE = 1_000_000
FEW_STEPS = 100  # of a run, of which a rounded tick would be seen to stand beside its step
PLOT = (440, 240)  # width and height of a curve, in the units of its drawing
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 12, 34  # its margins


@dataclass(frozen=True)
class Wishes:
    """What a page is to show.

    Attributes:
        episodes: number of the best episodes that are drawn, and of the worst.
        megabytes: most size of the pictures; what comes after that is left out, which the page says.
        device: of the model that draws.
        places: of data and weights.
    """

    episodes: int = 6
    megabytes: float = 8.0
    device: str = "auto"
    places: Places = Places()


@dataclass(frozen=True)
class Plot:
    """A curve in the units of its drawing: lines, and ticks with their words."""

    title: str
    lines: tuple[tuple[str, str], ...]
    across: tuple[tuple[float, str], ...]
    up: tuple[tuple[float, str], ...]


def write_page(folder: Path, out: Path | None, wishes: Wishes) -> Path:
    """Write the page of a run and return its path; in its folder where no other is given.

    Raises:
        ValueError: no folder of a run, nothing to report, damaged results, or a file in the way that is no such page.
    """
    path = folder / PAGE if out is None else out
    refuse_foreign(path)
    content = read_content(folder)
    try:
        text = page_of(content, wishes)
    except (KeyError, TypeError, StopIteration) as error:
        raise ValueError(f"{folder / RESULTS} is not what a test writes ({error!r}): test that run again") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


def refuse_foreign(path: Path) -> None:
    """Raise ValueError for a file that this program has not written, and for what is no file."""
    if path.exists() and not (path.is_file() and MARK in path.read_text(encoding="utf-8", errors="replace")[:HEAD]):
        raise ValueError(f"{path} is no page that this program wrote, and is not replaced: give another out=<file>")


def page_of(content: Content, wishes: Wishes) -> str:
    """The page as text. Raises KeyError or TypeError for results that are not those of a test."""
    best, worst, notes = _episodes(content, wishes)
    shown = {
        "name": content.folder.resolve().name,
        "kind": content.kind,
        "headline": _headline(content),
        "facts": _facts(content),
        "card": content.card,
        "tables": tables_of(content),
        "plots": [_plot(curve) for curve in content.curves()],
        "episodes": {"Best episodes": best, "Worst episodes": worst},
        "saved": [] if best or worst else _saved(content.folder, wishes.megabytes),
        "notes": notes,
        "settings": {name: str(value) for name, value in flat(dict(content.settings)).items()},
        "size": PLOT,
        "margins": (LEFT, RIGHT, TOP, BOTTOM),
        "mark": MARK,
        "version": VERSION,
        "megabytes": f"{wishes.megabytes:g}",
    }
    template = files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    room = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    room.filters["percent"] = percent
    return room.from_string(template).render(shown)


def _headline(content: Content) -> dict[str, str]:
    """The first number with its interval; empty where there is none."""
    if not content.headline:
        return {}
    number = content.numbers()[content.headline]
    interval = number.get("bootstrap")
    return {
        "measure": content.headline,
        "value": percent(number["value"]),
        "interval": f"{percent(interval[0])} to {percent(interval[1])}" if interval else "",
    }


def _facts(content: Content) -> dict[str, str]:
    """What ran, in a few words: of the record where there is one, else of the settings."""
    settings, record = flat(dict(content.settings)), content.record
    named = {
        "system": record.get("system", settings.get("system.name")),
        "benchmark": record.get("benchmark", settings.get("benchmark.name", settings.get("task.benchmark"))),
        "stage": settings.get("stage"),
        "protocol": content.results.get("protocol"),
        "shots": record.get("shots", settings.get("shots")),
        "seeds": ", ".join(map(str, record.get("seeds", [settings.get("seed")]))),
        "tested": record.get("date"),
        "commit": record.get("commit"),
        "versions": record.get("versions"),
    }
    return {name: str(value) for name, value in named.items() if value not in (None, "")}


def _episodes(content: Content, wishes: Wishes) -> tuple[list[Drawn], list[Drawn], list[str]]:
    """The best and the worst episodes, drawn again, and notes on what is not as it was, or is missing and why."""
    if not content.of_episodes or not wishes.episodes:
        return [], [], []
    scores = scores_from_json(content.results["queries"], content.folder)
    best, worst = best_and_worst(scores, content.results["protocol"], wishes.episodes)
    try:
        again = Redrawing(content, wishes.places, wishes.device)
        drawn, left_out = _within(again, [*best, *worst], wishes.megabytes * MEGABYTE)
    except (ValueError, OSError, CheckpointError) as error:
        return [], [], [f"The best and the worst episodes are not shown, they cannot be drawn again: {error}."]
    notes = again.notes
    if left_out:
        notes = [*notes, f"{left_out} episodes are left out: the pictures take at most {wishes.megabytes:g} MB."]
    shown = dict(drawn)
    return [shown[n] for n in range(len(best)) if n in shown], [shown[n] for n in shown if n >= len(best)], notes


def _within(again: Redrawing, chosen: Sequence[Chosen], most: float) -> tuple[list[tuple[int, Drawn]], int]:
    """The episodes whose pictures fit into `most` bytes, with their numbers, and how many do not."""
    kept, used = [], 0
    for number, drawn in enumerate(again.episodes(chosen)):
        if used + drawn.size <= most:
            kept.append((number, drawn))
            used += drawn.size
    return kept, len(chosen) - len(kept)


def _saved(folder: Path, megabytes: float) -> list[tuple[str, str]]:
    """Pictures that the run itself has drawn, as data URIs, as far as they fit: name and content."""
    found, used = [], 0
    for path in sorted((folder / "pictures").rglob("*.png"))[:SAVED]:
        uri = f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
        used += len(uri)
        if used <= megabytes * MEGABYTE:
            found.append((path.stem, uri))
    return found


def _plot(curve: Curve) -> Plot:
    """A curve in the units of its drawing, with five ticks up and about as many across, at whole steps."""
    width, height = PLOT[0] - LEFT - RIGHT, PLOT[1] - TOP - BOTTOM
    last = max(step for steps, _ in curve.lines.values() for step in steps)
    top = _round_up(curve.top)

    def point(step: float, value: float) -> str:
        return f"{LEFT + width * step / last:.1f},{TOP + height * (1 - min(max(value, 0), top) / top):.1f}"

    lines = [(name, " ".join(map(point, steps, values))) for name, (steps, values) in curve.lines.items()]
    parts = next((k for k in (4, 3, 5, 2) if last % k == 0), 4 if last > FEW_STEPS else 1)
    across = [(LEFT + width * k / parts, f"{last * k / parts:,.0f}") for k in range(parts + 1)]
    up = [(TOP + height * (1 - k / 4), f"{top * k / 4:.3g}") for k in range(5)]
    return Plot(curve.title, tuple(lines), tuple(across), tuple(up))


def _round_up(top: float) -> float:
    """The next number from `top` on whose quarters are short: 1, 2, 4 or 8 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(top)) if top > 0 else 1.0
    return next(power * k for k in (1, 2, 4, 8, 10) if power * k >= top)


def told(path: Path) -> str:
    """A line on a page that has been written: its place and size."""
    return f"report: {path} ({path.stat().st_size / MEGABYTE:.1f} MB)"
