"""`python -m fewshot.meta_train group=1`: meta-train on the training classes of a fold, test on the held-out ones."""

from __future__ import annotations

from fewshot.cli.program import Command, Program
from fewshot.cli.runs import MetaTrainConfig


def run(config: MetaTrainConfig, command: Command) -> float | None:
    """Train and test; returns what a search may optimise."""
    # Imported step by step: help and refusals wait for no library, the first lines of a run for torch alone.
    from fewshot.cli.checks import check_adaptation_reads
    from fewshot.run.session import Session, in_session

    check_adaptation_reads(config.adaptation, command.typed)

    def work(here: Session) -> float | None:
        from fewshot.training.meta import meta_train

        return meta_train(config, command, here)

    return in_session(config, command, work)


PROGRAM = Program(
    name="meta_train",
    schema=MetaTrainConfig,
    about=(
        "Meta-train a few-shot or referring segmenter on the training classes of a fold, then test it on the held-out "
        "classes with its sanity probes. With nothing given: a small UniRef++ on the synthetic world, on a CPU."
    ),
    examples=(
        ("group=1", "the embedded default: fold 1 of the synthetic world, nothing downloaded"),
        ("-m group=1,2,3,4 seed=1", "the four folds, one after the other"),
        (
            "group=1 benchmark=mini_ref_ytvos data.root=<folder> system=cma system.text_weights=<folder> "
            "recipe=official train.init_from=<checkpoint>",
            "the paper's training on Mini-Ref-YouTube-VOS",
        ),
    ),
    run=run,
)


main = PROGRAM.main

if __name__ == "__main__":
    main()
