"""`python -m fewshot.task_test task=davis17 weights=<...> data.root=<...>`: test a system on a task without classes.

Referring image segmentation, referring video segmentation, mask-guided video segmentation, and everything in a video:
tracks, classes and panoptic segments. The masks are written in
the form that servers and toolkits read, and scored here where the truth is public.
"""

from __future__ import annotations

from fewshot.cli.program import Command, Program
from fewshot.cli.runs import TaskTestConfig


def run(config: TaskTestConfig, command: Command) -> float | None:
    """Test; returns the headline number in percent, None where a server computes it."""
    # Imported step by step: help and refusals wait for no library, the first line for torch alone.
    from fewshot.run import processes

    if processes.is_main():  # the folder and its log are opened once data and weights are known to be good
        print(f"{config.task.benchmark}: reading {config.data.root or 'what is generated'}", flush=True)
    from fewshot.evaluation.tasks.run import task_test

    return task_test(config, command)


PROGRAM = Program(
    name="task_test",
    schema=TaskTestConfig,
    about=(
        "Test a system on referring image segmentation, referring video segmentation, mask-guided video segmentation, "
        "or on everything in a video: tracks, classes and panoptic segments. Writes the masks as servers and toolkits "
        "read them, and scores them where the truth is public. A run that was stopped goes on with resume=true."
    ),
    examples=(
        (
            "task=davis17 weights=<checkpoint> data.root=<folder of DAVIS>",
            "objects given by masks; J and F",
        ),
        ("task=ref_youtube_vos weights=<checkpoint> data.root=<folder> zip=true", "expressions; a zip for the server"),
        (
            "task=synthetic_rvos weights=runs/synthetic_rvos-sgmg_tiny-s0",
            "generated videos, nothing downloaded; J and F with the right and with other expressions",
        ),
        (
            "task=synthetic_vps system=univs_tiny weights=<run folder>",
            "panoptic segments of generated videos; VPQ and STQ, in every reading of the protocol",
        ),
        ("task=refcoco task.split=testA weights=<checkpoint> data.root=<folder>", "expressions in images; oIoU"),
    ),
    run=run,
)

main = PROGRAM.main

if __name__ == "__main__":
    main()
