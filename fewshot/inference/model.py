"""`Model`: a system with its input rule and its settings, which is what users hold.

Its folder is that of `python -m fewshot.convert`: `model.safetensors`, `config.json` (the settings that the system is
built from, since constructors take modules, and the input rule), a model card, and the tokenizer where the system has
one with files. huggingface_hub's mixin brings `save_pretrained`, `from_pretrained` and `push_to_hub`; nothing is
fetched or sent but by these calls.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub import ModelCard, ModelHubMixin
from torch import Tensor

from episodes.episode import Episode
from episodes.transforms.input_rule import InputRule
from episodes.whole_files import clear_stale, partial_of
from fewshot.adaptation.wrapper import unwrapped
from fewshot.config.sections import AdaptationConfig
from fewshot.inference.card import CARD_FILE, card_text
from fewshot.inference.chunks import DEFAULT_CHUNK, segment_queries
from fewshot.inference.loading import (
    ADAPTATION,
    Adapting,
    adaptation_of,
    load_into,
    stored_adaptation,
    stored_rule,
    stored_system,
    with_adaptation,
    with_tokenizer,
)
from fewshot.inference.segmenter import Result, Segmenter, Text, name_referents
from fewshot.inference.supports import SupportList
from fewshot.inference.training_run import KEY as TRAINING
from fewshot.inference.training_run import SAVED, training_run
from fewshot.inference.whole_videos import LEAST_CLIP, FirstMasks, WholeSegmenter, named_question, way_of
from fewshot.media.reading import MediaSource, open_media
from fewshot.run.processes import choose_device
from fewshot.systems.base import System
from fewshot.systems.config import SystemConfig
from fewshot.systems.registry import build_system, spec_of, systems
from fewshot.weights.files import CONFIG, TOKENIZER, WEIGHTS, check_target, read_config, write_converted
from fewshot.weights.hub import download, is_hub_name
from fewshot.weights.trained_on import KEY, TrainedOn, read_trained_on, to_json

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass
class Model(ModelHubMixin):
    """A system that is ready for use.

    Attributes:
        system: the network.
        rule: how frames become its input.
        settings: what the system was built from; None for one that was put together from modules.
        trained_on: the trainings of the weights, with their benchmarks and classes; None where that is not known.
        adaptation: to the supports of each call, which the system is wrapped in; None: there is none.
        training_run: how the weights were trained, or why that is not known; None: nothing was trained.
    """

    system: System
    rule: InputRule
    settings: SystemConfig | None = None
    trained_on: tuple[TrainedOn, ...] | None = None
    adaptation: AdaptationConfig | None = None
    training_run: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """The system's name."""
        return self.system.name

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.system.parameters()).device

    def to(self, device: torch.device | str) -> Model:
        """The same model on another device."""
        self.system.to(device_named(device))
        return self

    def segment(
        self,
        source: MediaSource,
        support: SupportList | Mapping[str, SupportList] | None = None,
        text: Text | None = None,
        *,
        classes: Sequence[str] | None = None,
        first_masks: FirstMasks | None = None,
        size: int | None = None,
        chunk: int = DEFAULT_CHUNK,
        min_score: float = 0.0,
        largest_component: bool = False,
        fill_holes: bool = False,
    ) -> Result:
        """Segment what supports show and words say, in an image or a video of your own.

        Args:
            source: an array `(H, W, 3)` or `(T, H, W, 3)` of uint8 RGB, a tensor `(3, H, W)` or `(T, 3, H, W)` of uint8
                or floats in 0..1, a PIL image, or the path of an image, of a folder of frames or of a video file.
            support: `[(image, mask), ...]`, or `{class: [(image, mask), ...]}` for several classes at once. Images are
                given as `source` is, masks as bool, 0/1 or 0/255 `(H, W)`, PIL images or paths; a support may also be
                a clip with masks `(T, H, W)`. `fewshot.Support` says more of one, which object of a mask say.
            text: an expression, several, or `{class: expression}`. A system that cannot do without words reads the
                supports with these words too, unless `Support.text` has others.
            classes: names, one of which every pixel gets; 'background' is a name as well. Not beside `support` and
                `text`, and for systems that go through whole videos in a way of their own (UniVS).
            first_masks: `{name: mask}` of things in the first frame of a video, or one map of ids `(H, W)`, in the
                forms of masks of `support`. They are followed through the video and compete for pixels. Not beside
                the others, and for such systems or those with a memory (UniRef++).
            size: side of the frames that the network sees, in pixels, as the input rule counts; None: the rule's own.
            chunk: frames of one forward pass; clips of whole videos have at most 5.
            min_score: frames with a lower score get an empty mask, 0..1.
            largest_component: keep the largest connected part of each mask alone.
            fill_holes: fill what a mask encloses (of its largest part, where both are asked for).

        Returns:
            A mask for each class or expression at the size of `source`, scores, and a label map.

        Raises:
            ValueError: what the system cannot take, or what cannot be read; the message names it and what to do.
            FileNotFoundError: a path with nothing there.
            TypeError: an image or mask of another kind.
        """
        media = open_media(source)
        segmenter = self.segmenter(
            support,
            text,
            classes=classes,
            first_masks=first_masks,
            size=size,
            min_score=min_score,
            largest_component=largest_component,
            fill_holes=fill_holes,
        )
        return segmenter.segment(media, chunk=chunk)

    def segmenter(
        self,
        support: SupportList | Mapping[str, SupportList] | None = None,
        text: Text | None = None,
        *,
        classes: Sequence[str] | None = None,
        first_masks: FirstMasks | None = None,
        size: int | None = None,
        min_score: float = 0.0,
        largest_component: bool = False,
        fill_holes: bool = False,
    ) -> Segmenter:
        """Encode supports and words once, for any number of pictures. Arguments and errors as of `segment`."""
        tidy = dict(largest_component=largest_component, fill_holes=fill_holes)
        if classes is not None or first_masks is not None:
            if support is not None or text is not None:
                raise ValueError("classes and first_masks are asked for alone: leave support and text away")
            question, spec = named_question(classes, first_masks), systems().get(self.system.name)
            system = unwrapped(self.system)  # there are no supports that it could adapt to
            way = partial(way_of, system, spec, question.kind)
            way(LEAST_CLIP)  # what the system does not answer is refused here
            return WholeSegmenter(system, question, way, self.rule.at(size), min_score=min_score, **tidy)
        referents = name_referents(self.system, support, text)
        return Segmenter(self.system, referents, self.rule.at(size), min_score=min_score, **tidy)

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Write the folder that `fewshot.load` reads: weights, settings, tokenizer and, where there is none, a card.

        Everything is written beside the old files before any of them is replaced, the configuration last.

        Args:
            save_directory: made where it does not exist.
            options: of `huggingface_hub.ModelHubMixin.save_pretrained`; with `push_to_hub=True` the files are sent.

        Raises:
            FileExistsError: there are files of something else.
            ValueError: the system was put together by hand, so that nothing could build it again.
            OSError: the disk is full; an earlier model in the folder stays as it was.
        """
        folder = Path(save_directory).expanduser()
        check_target(folder)
        push, repository = options.pop("push_to_hub", False), options.pop("repo_id", None)
        ours = {name: options[name] for name in ("config", "model_card_kwargs") if name in options}
        folder.mkdir(parents=True, exist_ok=True)
        clear_stale(folder / "saved")
        staged = partial_of(folder / "saved")
        try:
            super().save_pretrained(staged, **ours)
            _move_in(staged, folder)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        return self.push_to_hub(repository or folder.name, **options) if push else None

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write weights, settings and tokenizer; the mixin's `save_pretrained` calls this and adds the card.

        Raises:
            ValueError: the system was put together by hand, so that nothing could build it again.
        """
        if self.settings is None:
            raise ValueError(
                f"this {type(self.system).__name__} was put together from modules, so no settings could build it "
                "again: build it with fewshot.systems.registry.build_system(settings), or save its state_dict()"
            )
        write_converted(save_directory, self.system.state_dict(), stored_form(self, source=SAVED))
        tokenizer = getattr(getattr(self.system, "text", None), "tokenizer", None)
        if tokenizer is not None and hasattr(tokenizer, "save_pretrained"):
            tokenizer.save_pretrained(save_directory / TOKENIZER)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> Self:
        """The model in a folder or on the Hub, in eval mode. Raises as `fewshot.load`.

        Args:
            pretrained_model_name_or_path: of the folder or, on the Hub, `user/name`.
            options: of `huggingface_hub.ModelHubMixin.from_pretrained`; `text_weights`, `device` and `adaptation` as
                of `fewshot.load`.
        """
        folder = Path(pretrained_model_name_or_path).expanduser()
        if (folder / CONFIG).is_file():
            read_config(folder)  # refused here in a line; the mixin takes it as it is
        return super().from_pretrained(pretrained_model_name_or_path, **options)

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        text_weights: str | Path | None = None,
        device: str = "cpu",
        adaptation: Adapting | Mapping[str, Any] = None,
        **stored: Any,  # what the mixin has read of config.json, which is read again with the weights
    ) -> Self:
        """The model in a folder or on the Hub, in eval mode. Raises as `fewshot.load`."""
        folder = Path(model_id)
        if not folder.is_dir():
            options = dict(revision=revision, cache_dir=cache_dir, force_download=force_download, token=token)
            folder = download(model_id, local_files_only=local_files_only, **options)
        asked = None if isinstance(adaptation, Mapping) else adaptation  # the mixin hands over what config.json has
        loaded = load_folder(folder, text_weights=text_weights, device=device, adaptation=asked)
        return cls(**{entry.name: getattr(loaded, entry.name) for entry in fields(loaded)})

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The README of a saved folder."""
        return ModelCard(card_text(self.system, self.rule, self.adaptation))


def load(
    path: str | Path,
    *,
    text_weights: str | Path | None = None,
    device: torch.device | str = "cpu",
    adaptation: Adapting = None,
) -> Model:
    """The trained model in a folder or on the Hugging Face Hub, in eval mode.

    Args:
        path: folder of a training run (its best checkpoint is taken), a checkpoint in such a folder, a folder that
            `python -m fewshot.convert` or `save_pretrained` wrote, or, where no folder of that name is here, a model
            on the Hub by its name `user/name`, which is then fetched.
        text_weights: folder with the tokenizer of a RoBERTa or BERT system, where the stored path is not valid here.
        device: where the system is put.
        adaptation: to the supports of each call: its settings, a name such as `finetune`, or words of the command line
            (`["adaptation=finetune", "adaptation.steps=5"]`); None: as the weights were trained, `none`: leave it away.

    Raises:
        FileNotFoundError: nothing is there.
        TypeError: `path` is no path.
        ValueError: the folder has no configuration, or one of another version, or there is no such device.
        CheckpointError: the weights are damaged or of another system.
        Learn2LearnMissing: the adaptation takes gradient steps, and learn2learn is not installed.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path={path!r}: give the folder of a run or of saved weights, or a name on the Hub")
    on_hub = not Path(path).expanduser().exists() and is_hub_name(path)
    folder = download(str(path)) if on_hub else Path(path).expanduser()
    return load_folder(folder, text_weights=text_weights, device=device, adaptation=adaptation)


def load_folder(
    path: Path,
    *,
    text_weights: str | Path | None = None,
    device: torch.device | str = "cpu",
    adaptation: Adapting = None,
) -> Model:
    """`load` for what is on this machine."""
    device = device_named(device)
    settings = stored_system(path)
    if settings is None:
        raise ValueError(f"{path} has no configuration beside it: give a run folder or a converted folder")
    if text_weights is not None:
        settings = with_tokenizer(settings, text_weights)
    with torch.random.fork_rng(devices=[]):  # initial weights are drawn and then replaced
        system = build_system(settings)
    rule = stored_rule(path) or spec_of(settings).rule_of(system)
    chosen = adaptation_of(adaptation, stored_adaptation(path))
    system = with_adaptation(system, chosen)
    load_into(system, settings, path)
    return Model(system.to(device).eval(), rule, settings, read_trained_on(path), chosen, training_run(path))


def untrained(settings: SystemConfig, *, device: torch.device | str = "cpu", adaptation: Adapting = None) -> Model:
    """A system that needs no training, on the backbone whose weights its settings name, in eval mode.

    Raises:
        ValueError: the system needs training, or no weights of the backbone are named.
        FileNotFoundError: they are not there.
    """
    spec = spec_of(settings)
    if spec.needs_training:
        without = [name for name, other in systems().items() if not other.needs_training]
        raise ValueError(f"system {spec.name} needs training: give weights=..., or system={' or '.join(without)}")
    if getattr(settings, "backbone_weights", "") is None:
        raise ValueError(
            f"system {spec.name} without training needs an image encoder that has learnt something: give "
            "system.backbone_weights=imagenet, or a file with such weights"
        )
    system, chosen = build_system(settings), adaptation_of(adaptation, None)
    rule = spec.rule_of(system)
    return Model(with_adaptation(system, chosen).to(device).eval(), rule, settings, adaptation=chosen)


def _move_in(staged: Path, folder: Path) -> None:
    """Move a model's files to their place, the weights before the configuration that describes them."""
    last = (WEIGHTS, CONFIG)
    names = [str(path.relative_to(staged)) for path in sorted(staged.rglob("*")) if path.is_file()]
    for name in sorted(names, key=lambda name: last.index(name) if name in last else -1):
        if name == CARD_FILE and (folder / name).exists():  # a card that somebody has written on
            continue
        (folder / name).parent.mkdir(exist_ok=True)
        os.replace(staged / name, folder / name)


def device_named(device: torch.device | str) -> torch.device:
    """A device by its name: `auto`, `cpu`, `cuda`, `cuda:1`, or any other that torch knows.

    Raises:
        ValueError: torch knows none of this name, or has none here.
    """
    if isinstance(device, torch.device):
        return device
    try:
        return choose_device(device)
    except RuntimeError as error:
        raise ValueError(f"device={device}: give auto, cpu, cuda, or cuda:0, cuda:1, ...") from error


def segment_episode(model: Model, episode: Episode, *, chunk: int = DEFAULT_CHUNK) -> list[Tensor]:
    """Segment every query of an episode: one `(T, Ho, Wo)` bool mask per query expression.

    Arguments and errors as of `fewshot.inference.chunks.segment_queries`.
    """
    return segment_queries(model.system, episode, chunk=chunk)


def stored_form(model: Model, source: str) -> dict[str, Any]:
    """Content of the `config.json` beside stored weights; `source` says where they come from, in a word or two."""
    assert model.settings is not None
    settings = asdict(model.settings.without_places())  # what files and folders brought is in the weights
    content = {"system": model.name, "source": source, "config": settings, "input": model.rule.to_json()}
    if model.adaptation is not None:
        content[ADAPTATION] = asdict(model.adaptation)
    if model.training_run is not None:
        content[TRAINING] = dict(model.training_run)
    return {**content, KEY: None if model.trained_on is None else to_json(model.trained_on)}
