"""`python -m fewshot.convert system=… checkpoint=… out=…`: an official checkpoint to safetensors and a config.

The folder it writes is what `weights=` takes, and loads faster than the original. No tokenizer is needed for it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from episodes.cli import key_values, refuse_missing
from fewshot.cli.program import short_errors
from fewshot.nn.text import TextEncoder, WordHashTokenizer, bert, roberta
from fewshot.systems.base import System
from fewshot.systems.cma import checkpoint as cma
from fewshot.systems.cma.build import build_cma
from fewshot.systems.config import SystemConfig
from fewshot.systems.uniref import checkpoint as uniref
from fewshot.systems.uniref.build import build_uniref
from fewshot.weights.files import CONFIG, WEIGHTS, official_tensors, read_pickle, write_converted
from fewshot.weights.load import WeightsReport, load_weights

KEYS = {
    "system": "the system the checkpoint belongs to: cma or uniref",
    "checkpoint": "the official file",
    "out": "folder to write",
    "variant": "of cma: cma, base or self; needed for base and self, whose files look alike",
}
SYSTEMS = ("cma", "uniref")
EXAMPLES = """Examples:
  python -m fewshot.convert system=cma checkpoint=group_1/checkpoint.pth out=weights/cma_group1
  python -m fewshot.convert system=cma checkpoint=checkpoint0009.pth out=weights/epoch9
  python -m fewshot.convert system=cma variant=base checkpoint=base.pth out=weights/base
  python -m fewshot.convert system=uniref checkpoint=video_joint_r50.pth out=weights/uniref_r50"""


def convert(checkpoint: Path, out: Path, variant: str | None = None, system: str = "cma") -> WeightsReport:
    """Write `out/model.safetensors` and `out/config.json` from an official checkpoint of `system`.

    Raises:
        FileNotFoundError: no such checkpoint.
        FileExistsError: `out` holds converted weights already, or is a file.
        ValueError, CheckpointError: it is not a checkpoint of that system; the keys that do not fit are named.
    """
    if not checkpoint.is_file():
        raise FileNotFoundError(f"no checkpoint at {checkpoint}")
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out} is a file: give a folder, which is made where it does not exist")
    if (out / WEIGHTS).exists():
        raise FileExistsError(f"{out / WEIGHTS} exists already: choose another folder, or remove it")
    official = official_tensors(read_pickle(checkpoint), checkpoint)
    try:
        config, empty = fitting(official, system, variant)
    except ValueError as error:
        raise ValueError(f"{checkpoint}: {error}") from error
    report = load_weights(empty, checkpoint)
    write_converted(out, empty, config, source=checkpoint.name)
    return report


def fitting(official: Mapping[str, Tensor], system: str, variant: str | None = None) -> tuple[SystemConfig, System]:
    """The configuration that the tensors of an official checkpoint imply, and a system of these sizes for them."""
    if system == "cma":
        config = SystemConfig(name="cma", **cma.sizes_of(official, variant))
    else:
        config = SystemConfig(name="uniref", dropout=0.0, **uniref.sizes_of(official))
    with torch.device("meta"):  # the tokenizer is not part of the weights
        encoder = bert() if config.text == "bert" else roberta() if config.text == "roberta" else None
        text = None if encoder is None else TextEncoder(encoder, WordHashTokenizer()).to_empty(device="cpu")
    if system == "cma" and text is not None:
        return config, build_cma(config, text)
    return config, build_uniref(config, text)


def parse(arguments: Sequence[str]) -> dict[str, str]:
    """`key=value` words as a table. Raises ValueError with the remedy."""
    values = {key: value for key, (value,) in key_values(arguments, KEYS).items()}
    refuse_missing(("system", "checkpoint", "out"), values)
    if values["system"] not in SYSTEMS:
        raise ValueError(f"system {values['system']!r} has no official checkpoints: choose one of {', '.join(SYSTEMS)}")
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
        print(convert(Path(values["checkpoint"]), out, values.get("variant"), values["system"]))
        print(f"written: {out / WEIGHTS} and {out / CONFIG}")


if __name__ == "__main__":
    main()
