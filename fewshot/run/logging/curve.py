"""The learning curve with right and wrong supports side by side: a model that ignores its supports is seen at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def draw_learning_curve(path: Path, rows: Sequence[Mapping[str, Any]], measure: str = "J") -> bool:
    """Draw a measure of the validation over the steps from the rows of a run, with the training loss beside it.

    Returns False, and draws nothing, where no row holds a validation.
    """
    from matplotlib.figure import Figure  # no pyplot: nothing global, no window

    right, wrong = f"val/{measure}", f"val/{measure}_wrong_support"
    if not any(right in row for row in rows):
        return False
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    score, loss = figure.subplots(1, 2)
    for name, label, style in ((right, "right supports", "o-"), (wrong, "supports of a wrong class", "s--")):
        score.plot(*series(rows, name), style, label=label, markersize=4)
    score.set(xlabel="step", ylabel=f"{measure} (%)", ylim=(0, 100), title="validation episodes")
    score.legend()
    loss.plot(*series(rows, "train/loss"))
    loss.set(xlabel="step", title="training loss")
    for axes in (score, loss):
        axes.grid(alpha=0.3)
        axes.set_xlim(left=0)
    figure.savefig(path, dpi=120)
    return True


def series(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[list[int], list[float]]:
    """Steps and values of the rows that have `name`."""
    found = [(row["step"], row[name]) for row in rows if name in row]
    return [step for step, _ in found], [value for _, value in found]
