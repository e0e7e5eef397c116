"""`python -m fewshot.convert system=… checkpoint=… out=…`: an official checkpoint to safetensors and a config.

The folder it writes is what `weights=` takes, and loads faster than the original. No tokenizer is needed for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from omegaconf import MISSING

from fewshot.cli.program import Command, Program
from fewshot.config.keys import key
from fewshot.systems.registry import find_system, systems

if TYPE_CHECKING:
    from fewshot.weights.key_table import WeightsReport


@dataclass
class ConvertConfig:
    """An official checkpoint and the folder that it becomes."""

    system: str = key(MISSING, "the system that the checkpoint belongs to")
    checkpoint: str = key(MISSING, "the official file", place=True)
    out: str = key(MISSING, "folder to write", place=True)
    variant: Optional[str] = key(None, "of the system; needed where two variants have files that look alike")


def convert(system: str, checkpoint: Path, out: Path, variant: str | None = None) -> WeightsReport:
    """Write `out/model.safetensors` and `out/config.json` from an official checkpoint of `system`.

    Raises:
        FileNotFoundError: no such checkpoint.
        FileExistsError: `out` holds converted weights or files of something else already, or is a file.
        ValueError, CheckpointError: it is not a checkpoint of that system; the keys that do not fit are named.
    """
    from fewshot.inference.model import Model, stored_form
    from fewshot.weights.files import WEIGHTS, check_target, official_tensors, read_pickle, write_converted
    from fewshot.weights.load import load_official

    spec = find_system(system)
    if spec.fit is None:
        known = [name for name, other in systems().items() if other.fit is not None]
        raise ValueError(f"system {system!r} has no official checkpoints to convert: choose one of {', '.join(known)}")
    if not checkpoint.is_file():
        raise FileNotFoundError(f"no checkpoint at {checkpoint}")
    check_target(out)
    if (out / WEIGHTS).exists():
        raise FileExistsError(f"{out / WEIGHTS} exists already: choose another folder, or remove it")
    official = official_tensors(read_pickle(checkpoint), checkpoint)
    try:
        settings, empty = spec.fit(official, variant)
    except ValueError as error:
        raise ValueError(f"{checkpoint}: {error}") from error
    report = load_official(empty, official, str(checkpoint), spec.plan)
    model = Model(empty, spec.rule_of(empty), settings)
    write_converted(out, empty.state_dict(), stored_form(model, source=checkpoint.name))
    return report


def run(config: ConvertConfig, command: Command) -> None:
    """Convert, and print the account of the tensors."""
    out = Path(config.out).expanduser()
    print(convert(config.system, Path(config.checkpoint).expanduser(), out, config.variant))
    print(f"written: {out}")


PROGRAM = Program(
    name="convert",
    schema=ConvertConfig,
    about=(
        "Convert an official checkpoint into a folder of safetensors and settings that weights= takes. Every tensor is "
        "accounted for. No tokenizer is needed."
    ),
    examples=(
        ("system=cma checkpoint=group_1/checkpoint.pth out=weights/cma_group1", "the sizes are read from the tensors"),
        ("system=cma variant=base checkpoint=base.pth out=weights/base", "variants whose files look alike are named"),
        ("system=uniref checkpoint=video_joint_r50.pth out=weights/uniref_r50", "another system"),
    ),
    run=run,
)

main = PROGRAM.main

if __name__ == "__main__":
    main()
