"""`python -m fewshot.train_stage stage=<name>`: train a system on a mixture of tasks and data sets."""

from __future__ import annotations

from fewshot.cli.program import Command, Program
from fewshot.cli.runs import StageConfig


def run(config: StageConfig, command: Command) -> None:
    """Train one stage."""
    # Imported step by step: help and refusals wait for no library, the first lines of a run for torch alone.
    from fewshot.run.session import Session, in_session

    def work(here: Session) -> None:
        from fewshot.training.stages import train_stage

        train_stage(config, here)

    in_session(config, command, work)


PROGRAM = Program(
    name="train_stage",
    schema=StageConfig,
    about=(
        "Train a system on a mixture of tasks and data sets, each batch of one of them. Data sets lie where "
        "parts.<name>.root says; parts.<name>.ratio=0 leaves one out. A run that was stopped goes on with resume=true."
    ),
    examples=(
        (
            "stage=uniref_image parts.coco.root=<folder> parts.refcoco.root=<folder> parts.refcoco_plus.root=<folder> "
            "parts.refcocog.root=<folder> train.init_from=<checkpoint>",
            "images with expressions and detection, from a pretrained checkpoint",
        ),
        ("stage=uniref_pretrain parts.objects365.root=<folder>", "boxes of Objects365, from an ImageNet backbone"),
        ("stage=uniref_video --help", "what the video stage is made of"),
        ("stage=synthetic_univs", "UniVS on everything in generated videos, nothing downloaded"),
        ("stage=synthetic_rvos", "SgMg on generated videos with expressions, nothing downloaded"),
        (
            "stage=refer_youtube_vos parts.ref_youtube_vos.root=<folder> train.init_from=<checkpoint> recipe=official",
            "SgMg as its authors fine-tuned it",
        ),
    ),
    run=run,
)


main = PROGRAM.main

if __name__ == "__main__":
    main()
