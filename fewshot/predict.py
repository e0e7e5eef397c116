"""`python -m fewshot.predict weights=… input=… support=…:… out=…`: segment images and videos of your own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from omegaconf import MISSING

from fewshot.cli.checks import check_device
from fewshot.cli.program import Command, Program
from fewshot.cli.system_words import system_settings
from fewshot.config.keys import key
from fewshot.config.limits import LONGEST_SIDE, MOST_AT_ONCE, SHORTEST_SIDE
from fewshot.config.sections import ADAPTATIONS


@dataclass
class PredictConfig:
    """Configuration of a prediction: input, references and output folder."""

    weights: Optional[str] = key(
        None, "run folder, converted or saved folder, or a name on the Hugging Face Hub", place=True
    )
    system: Optional[str] = key(
        None,
        "in the place of weights: a system that needs no training (prototype). Its keys are system.<key>, as system."
        "backbone=mobilenet_v2 system.backbone_weights=imagenet; meta_test system=<name> --help lists them",
    )
    adaptation: Optional[str] = key(
        None,
        "to the supports; null: as the weights were trained. Its keys are adaptation.<key>, as adaptation.steps=5; "
        "meta_test adaptation=<name> --help lists them",
        choices=ADAPTATIONS,
    )
    input: str = key(
        MISSING,
        "an image, a video file, or photographs: a folder of them or a pattern such as 'photos/*.jpg'",
        place=True,
    )
    video: bool = key(False, "true: the images of a folder or pattern are the frames of one video, in order")
    support: list[str] = key(
        [], "image:mask, or class=image:mask; again for each support. image:mask#2 takes object 2 of the mask"
    )
    text: list[str] = key([], "the words that refer to the thing, or class=words; again for each expression")
    classes: list[str] = key(
        [], "a name of a class, again for each: every pixel gets one of them (systems that go through whole videos)"
    )
    first_mask: list[str] = key(
        [], "of a video, the mask of its first frame: a PNG of ids, or name=mask, again for each thing to be followed"
    )
    out: str = key(MISSING, "folder to write", place=True)
    size: Optional[int] = key(
        None,
        "side of the frames that the network sees, in pixels; null: as trained",
        minimum=SHORTEST_SIDE,
        maximum=LONGEST_SIDE,
    )
    chunk: int = key(10, "frames of one forward pass", minimum=1, maximum=MOST_AT_ONCE)
    min_score: float = key(0.0, "frames with a lower score get an empty mask", minimum=0, maximum=1)
    largest_component: bool = key(False, "true: keep the largest connected part of each mask alone")
    fill_holes: bool = key(False, "true: fill what a mask encloses")
    preview: str = key("gif", "of a video; none: of photographs, too", choices=("gif", "webp", "none"))
    device: str = key("auto", "auto (a GPU where there is one), cpu, cuda or cuda:N")
    text_weights: Optional[str] = key(
        None,
        "folder with the tokenizer of a RoBERTa or BERT system, where the stored path is not valid here",
        place=True,
    )
    overwrite: bool = key(False, "true: write although out is not empty; what an earlier call wrote there goes")


def run(config: PredictConfig, command: Command) -> None:
    """Segment, write, and say what was found."""
    check_device(config.device)
    words = [word for word in command.overrides if word.startswith(("system=", "system."))]
    if bool(words) == (config.weights is not None):
        raise ValueError("give one of weights=... (a trained model) and system=... (one that needs no training)")
    settings = system_settings(words) if words else None
    adaptation = [word for word in command.overrides if word.startswith(("adaptation=", "adaptation."))]
    from fewshot.inference.predict import Unreadable, predict, told  # here, so that help does not wait for torch
    from fewshot.inference.request import request_of

    request = request_of(config, settings, adaptation or None)
    try:
        predict(request)
    except Unreadable:
        print(told(request.out))
        raise
    print(told(request.out))


PROGRAM = Program(
    name="predict",
    schema=PredictConfig,
    about=(
        "Segment images and videos of your own. The folder `out` then holds `masks/` (0 and 255 for one thing, a "
        "palette PNG of ids for several), `overlays/`, a `preview` (a still of images, an animation of a video) and "
        "`results.json`."
    ),
    examples=(
        ("weights=runs/NAME input=photo.jpg support=a.jpg:a.png out=found", "one image, one support with its mask"),
        (
            "weights=runs/NAME input='photos/*.jpg' out=found support=cat=a.jpg:a.png support=dog=b.jpg:b.png "
            "support=dog=c.jpg:c.png",
            "two classes in many photographs, the second with two supports",
        ),
        (
            'weights=runs/NAME input=frames/ video=true out=found support=a.jpg:a.png text="the dog on the left"',
            "words beside the support, in a folder of frames",
        ),
        (
            "weights=runs/NAME input=frames/ video=true out=found first_mask=dax=a.png first_mask=toma=b.png",
            "two things followed through a video from their masks in its first frame",
        ),
        (
            "system=prototype system.backbone=mobilenet_v2 system.backbone_weights=imagenet input=photo.jpg "
            "support=a.jpg:a.png out=found",
            "without any training: cosine to the support in the features of an ImageNet backbone",
        ),
    ),
    run=run,
    left=("system", "adaptation"),
)

main = PROGRAM.main

if __name__ == "__main__":
    main()
