"""The learning curve with right and wrong supports side by side: a model that ignores its supports is seen at once."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from episodes.whole_files import replacing
from fewshot.run.logging import RunLogger

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)
NAME = "learning_curve.png"  # in the run folder
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class DrawnLog:
    """A log that draws the learning curve anew after each validation.

    Attributes:
        kept: takes the rows.
        measure: of the validation.
        warmup: steps that learn with the warm-up losses alone.
    """

    kept: RunLogger
    measure: str = "J"
    warmup: int = 0

    def log(self, row: Mapping[str, float | int | str], step: int) -> None:
        """Record one row of the finished step `step`."""
        self.kept.log(row, step)
        if f"val/{self.measure}" in row:
            self.draw()

    def rewind(self, step: int, validated: int) -> None:
        """Forget the rows after `step`, and validations after `validated`."""
        self.kept.rewind(step, validated)

    def draw(self) -> None:
        """Draw the curve into the run folder. A disk without space is warned of: the run is worth more."""
        try:
            draw_learning_curve(self.kept.folder / NAME, self.kept.rows(), self.measure, self.warmup)
        except OSError as error:
            logger.warning("the learning curve is not drawn: %s", error)


def draw_learning_curve(path: Path, rows: Rows, measure: str = "J", warmup: int = 0) -> bool:
    """Draw a measure of the validation over the steps from the rows of a run, with the losses beside it.

    The losses of the first `warmup` steps are others, and have a panel of their own. At every moment either the old or
    the new picture is there as a whole. Returns False, and draws nothing, where no row holds a validation.
    """
    if not any(f"val/{measure}" in row for row in rows):
        return False
    picture = io.BytesIO()
    learning_curve(rows, measure, warmup).savefig(picture, dpi=120)
    with replacing(path) as partial:
        partial.write_bytes(picture.getvalue())
    return True


def learning_curve(rows: Rows, measure: str, warmup: int) -> Figure:
    """The figure: the validation, the warm-up's loss where there is a warm-up, the loss."""
    from matplotlib.figure import Figure  # no pyplot: nothing global, no window

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    widths = (3, 1, 2) if warmup else (3, 3)
    score, *before, loss = figure.subplots(1, len(widths), width_ratios=widths)
    _draw_score(score, rows, measure, warmup)
    early = [row for row in rows if row["step"] <= warmup]
    for axes in before:
        axes.plot(*series(early, "train/loss"), color="tab:gray")
        axes.set(xlabel="step", title="warm-up loss", xlim=(0, warmup))
    loss.plot(*series(rows[len(early) :], "train/loss"))
    loss.set(xlabel="step", title="training loss", xlim=(warmup, None))
    for axes in (score, *before, loss):
        axes.grid(alpha=0.3)
    return figure


def _draw_score(axes: Any, rows: Rows, measure: str, warmup: int) -> None:
    right, wrong = f"val/{measure}", f"val/{measure}_wrong_support"
    for name, label, style in ((right, "right supports", "o-"), (wrong, "supports of a wrong class", "s--")):
        steps, values = series(rows, name)
        if steps:
            axes.plot(steps, values, style, label=label, markersize=4)
    if warmup:
        axes.axvline(warmup, color="tab:gray", linestyle=":", label="end of the warm-up")
    axes.set(xlabel="step", ylabel=f"{measure} (%)", ylim=(0, 100), title="validation episodes")
    axes.set_xlim(left=0)
    axes.legend()


def series(rows: Rows, name: str) -> tuple[list[int], list[float]]:
    """Steps and values of the rows that have `name`."""
    found = [(row["step"], row[name]) for row in rows if name in row]
    return [step for step, _ in found], [value for _, value in found]
