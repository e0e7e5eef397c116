"""`python -m fewshot.predict weights=… input=… support=…:… out=…`: segment images and videos of your own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from omegaconf import MISSING

from fewshot.cli.checks import check_device
from fewshot.cli.program import Command, Program
from fewshot.config.keys import key


@dataclass
class PredictConfig:
    """Configuration of a prediction: input, references and output folder."""

    weights: str = key(MISSING, "run folder, converted or saved folder, or a name on the Hugging Face Hub", place=True)
    input: str = key(MISSING, "an image, a folder of frames, or a video file", place=True)
    support: list[str] = key(
        [], "image:mask, or class=image:mask; again for each support. image:mask#2 takes object 2 of the mask"
    )
    text: list[str] = key([], "the words that refer to the thing, or class=words; again for each expression")
    out: str = key(MISSING, "folder to write", place=True)
    size: Optional[int] = key(None, "side of the frames that the network sees, in pixels; null: as trained", minimum=1)
    chunk: int = key(10, "frames of one forward pass", minimum=1)
    min_score: float = key(0.0, "frames with a lower score get an empty mask, 0 to 1", minimum=0)
    preview: str = key("gif", "of a video", choices=("gif", "webp", "none"))
    device: str = key("auto", "auto (a GPU where there is one), cpu, cuda or cuda:N")
    text_weights: Optional[str] = key(
        None,
        "folder with the tokenizer of a RoBERTa or BERT system, where the stored path is not valid here",
        place=True,
    )
    overwrite: bool = key(False, "true: write although out is not empty")


def run(config: PredictConfig, command: Command) -> None:
    """Segment, write, and say what was found."""
    check_device(config.device)
    from fewshot.inference.predict import predict, request_of, told  # here, so that help does not wait for torch

    print(told(predict(request_of(config))))


PROGRAM = Program(
    name="predict",
    schema=PredictConfig,
    about=(
        "Segment images and videos of your own. The folder `out` then holds `masks/` (0 and 255 for one thing, a "
        "palette PNG of ids for several), `overlays/`, a `preview` (a still of an image, an animation of a video) and "
        "`results.json`."
    ),
    examples=(
        ("weights=runs/NAME input=photo.jpg support=a.jpg:a.png out=found", "one image, one support with its mask"),
        (
            "weights=runs/NAME input=clip.mp4 out=found support=cat=a.jpg:a.png support=dog=b.jpg:b.png "
            "support=dog=c.jpg:c.png",
            "two classes in a video, the second with two supports",
        ),
        (
            'weights=runs/NAME input=frames/ out=found support=a.jpg:a.png text="the dog on the left"',
            "words beside the support, in a folder of frames",
        ),
    ),
    run=run,
)

main = PROGRAM.main

if __name__ == "__main__":
    main()
