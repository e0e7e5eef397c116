"""`fewshot <command> [key=value ...]`: one console command for all entry points."""

from __future__ import annotations

import sys
from importlib import import_module

from episodes.hints import did_you_mean
from fewshot._origin import VERSION

COMMANDS = {
    "meta_train": "meta-train on the training classes of a fold, then test on the held-out ones",
    "meta_test": "test trained weights on the held-out classes of a fold, or of all folds",
    "train_stage": "train on a mixture of tasks and data sets",
    "task_test": "test on referring or mask-guided segmentation",
    "predict": "segment images and videos of your own",
    "convert": "convert an official checkpoint",
    "freeze": "write a list of episodes to a file",
    "compare": "compare two results on the same episodes",
    "sweep": "the runs of a W&B sweep on Optuna, without a server",
    "table": "one table of many runs, over folds, shots and seeds",
    "ledger": "results as data: add, check, and papers beside what was measured",
    "report": "the report of a run as one HTML page",
    "check": "what is on disk of a data set, and what is wrong with it",
    "expressions": "J and F of written masks of expressions: Ref-YouTube-VOS, MeViS",
    "davis": "J and F of written masks, as the DAVIS toolkit computes them",
}


def main() -> None:
    """Run the command that is named first. Ends with 1, and one line, for an unknown one."""
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return
    if words[0] in ("-V", "--version", "version"):
        print(f"fewshot {VERSION}")
        return
    name = words[0].replace("-", "_")
    if name not in COMMANDS:
        print(
            f"error: unknown command {words[0]!r}.{did_you_mean(name, COMMANDS)} `fewshot` lists them", file=sys.stderr
        )
        raise SystemExit(1)
    sys.argv = [f"fewshot {name}", *words[1:]]
    sys.path.append("")  # a system of one's own, named by its place, may lie in the folder where the command is typed
    import_module(f"fewshot.{name}").main()


def usage() -> str:
    """The list of commands."""
    rows = [f"  {name:<12} {about}" for name, about in COMMANDS.items()]
    return "\n".join(
        ["Usage: fewshot COMMAND [key=value ...]", "", "Commands", *rows, "", "fewshot COMMAND --help says more."]
    )


if __name__ == "__main__":
    main()
