"""`python -m fewshot.convert system=cma checkpoint=… out=…`: an official checkpoint to safetensors and a config.

The folder it writes is what `weights=` takes, and loads faster than the original. No tokenizer is needed for it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from episodes.cli import did_you_mean
from fewshot.build import build_cma
from fewshot.cli import short_errors
from fewshot.config import SystemConfig
from fewshot.nn.text import TextEncoder, WordHashTokenizer, roberta
from fewshot.systems.cma import checkpoint as cma
from fewshot.weights import CONFIG, WEIGHTS, WeightsReport, load_weights, official_tensors, read_pickle, write_converted

KEYS = {
    "system": "the system the checkpoint belongs to: cma",
    "checkpoint": "the official file",
    "out": "folder to write",
    "variant": "cma, base or self; needed for base and self, whose files look alike",
}
EXAMPLES = """Examples:
  python -m fewshot.convert system=cma checkpoint=group_1/checkpoint.pth out=weights/cma_group1
  python -m fewshot.convert system=cma checkpoint=checkpoint0009.pth out=weights/epoch9
  python -m fewshot.convert system=cma variant=base checkpoint=base.pth out=weights/base"""


def convert(checkpoint: Path, out: Path, variant: str | None = None) -> WeightsReport:
    """Write `out/model.safetensors` and `out/config.json` from an official CMA checkpoint.

    Raises:
        FileNotFoundError: no such checkpoint.
        FileExistsError: `out` holds converted weights already, or is a file.
        ValueError, CheckpointError: it is not a CMA checkpoint; the keys that do not fit are named.
    """
    if not checkpoint.is_file():
        raise FileNotFoundError(f"no checkpoint at {checkpoint}")
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out} is a file: give a folder, which is made where it does not exist")
    if (out / WEIGHTS).exists():
        raise FileExistsError(f"{out / WEIGHTS} exists already: choose another folder, or remove it")
    try:
        sizes = cma.sizes_of(official_tensors(read_pickle(checkpoint), checkpoint), variant)
    except ValueError as error:
        raise ValueError(f"{checkpoint}: {error}") from error
    config = SystemConfig(name="cma", **sizes)
    with torch.device("meta"):
        text = TextEncoder(roberta(), WordHashTokenizer())  # the tokenizer is not part of the weights
    system = build_cma(config, text.to_empty(device="cpu"))
    report = load_weights(system, checkpoint)
    write_converted(out, system, config, source=checkpoint.name)
    return report


def parse(arguments: Sequence[str]) -> dict[str, str]:
    """`key=value` words as a table. Raises ValueError with the remedy."""
    values: dict[str, str] = {}
    for word in arguments:
        key, equals, value = word.partition("=")
        if not equals or not value:
            raise ValueError(f"expected key=value, got {word!r}; --help lists the keys")
        if key not in KEYS:
            raise ValueError(f"unknown key {key!r}.{did_you_mean(key, KEYS)} --help lists the keys")
        values[key] = value
    missing = [key for key in ("system", "checkpoint", "out") if key not in values]
    if missing:
        raise ValueError(f"missing: {', '.join(f'{key}=…' for key in missing)}; --help lists the keys")
    if values["system"] != "cma":
        raise ValueError(f"system {values['system']!r} has no official checkpoints: choose system=cma")
    return values


def main() -> None:
    """Entry point."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        rows = [f"  {key:<11} {meaning}" for key, meaning in KEYS.items()]
        print("\n".join([__doc__ or "", "Keys:", *rows, "", EXAMPLES]))
        return
    with short_errors():
        values = parse(sys.argv[1:])
        out = Path(values["out"])
        print(convert(Path(values["checkpoint"]), out, values.get("variant")))
        print(f"written: {out / WEIGHTS} and {out / CONFIG}")


if __name__ == "__main__":
    main()
