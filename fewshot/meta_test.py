"""`python -m fewshot.meta_test weights=<run folder> group=1`: test on the held-out classes of a fold, or of all."""

from __future__ import annotations

from fewshot.cli.program import Command, Program
from fewshot.cli.runs import MetaTestConfig


def run(config: MetaTestConfig, command: Command) -> float | None:
    """Test; returns J or mIoU in percent."""
    # Imported step by step: help waits for no library, refusals and the first lines of a test for torch alone.
    from fewshot.cli.checks import check_adaptation_reads
    from fewshot.evaluation.given_weights import as_trained, groups_of, refuse_limit
    from fewshot.run.session import Session, in_session

    refuse_limit(config, command)
    config, command = as_trained(config, command)
    check_adaptation_reads(config.adaptation, command.typed)
    groups = groups_of(config)

    def work(here: Session) -> float:
        from fewshot.evaluation.meta import meta_test

        return meta_test(config, groups, here)

    return in_session(config, command, work)


PROGRAM = Program(
    name="meta_test",
    schema=MetaTestConfig,
    about=(
        "Test a trained or converted system on the held-out classes of a fold, or of all folds, with its sanity "
        "probes. A run folder brings its own system and benchmark."
    ),
    examples=(
        ("weights=runs/<name> group=1", "the best checkpoint of a training run, on its held-out classes"),
        ("group=all weights=runs/<name>-g{group} test.seeds=5", "every fold with its own run, five support draws"),
        ("system=prototype group=1", "the baseline that needs no training"),
    ),
    run=run,
    quoted=("weights", "manifest"),
)

main = PROGRAM.main

if __name__ == "__main__":
    main()
