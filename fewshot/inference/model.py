"""Systems to and from a folder or the Hugging Face Hub, through huggingface_hub's mixin.

The folder is that of `python -m fewshot.convert`: `model.safetensors`, `config.json` (the fields of
`fewshot.systems.config.SystemConfig`, since constructors take modules), a model card, and the tokenizer where the system has
one with files. The mixin brings `save_pretrained`, `from_pretrained` and `push_to_hub`; nothing is fetched or sent but
by these calls.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import ModelCard, PyTorchModelHubMixin

from fewshot.weights.hub import TOKENIZER, download

if TYPE_CHECKING:
    from fewshot.systems.config import SystemConfig

RULES = {"short": "the short side", "pad": "the long side", "square": "both sides"}
CARD = """---
library_name: fewshot
pipeline_tag: image-segmentation
tags:
{tags}
---
# {name}

A `{name}` system of the package `fewshot`: few-shot and referring segmentation of images and videos.

```python
import fewshot

model = fewshot.load("{folder}")
result = model.segment({example})
result.masks  # (things, frames, height, width)
```

It takes {accepts} and sees frames at {size} pixels ({rule}). {parameters:,} parameters.
`config.json` holds what it was built from.
"""


class Pretrained(PyTorchModelHubMixin):
    """What a system needs to be written to a folder and read again.

    Attributes:
        built_from: the configuration that the system was built from (`fewshot.systems.registry.build_system` sets it).
        test_size: side of images and frames, in pixels, at which `segment` works unless told otherwise; a run folder
            brings its own, as it does for the other two.
        test_max_size: limit of the long side, in pixels, where the rule is `short`; None: no limit.
        test_rule: `short`: `test_size` is the short side; `pad`: the long side; `square`: frames are squashed.
    """

    built_from: SystemConfig | None = None
    test_size: int = 360
    test_max_size: int | None = None
    test_rule: str = "short"

    def _save_pretrained(self, save_directory: Path) -> None:
        """The mixin's `save_pretrained` calls this; it then writes the card.

        Raises:
            ValueError: the system was put together by hand, so that nothing could build it again.
        """
        from fewshot.systems.base import System
        from fewshot.weights.files import write_converted

        assert isinstance(self, System)
        if self.built_from is None:
            raise ValueError(
                f"this {type(self).__name__} was put together from modules, so no configuration could build it again: "
                f"build it with fewshot.systems.registry.build_system(SystemConfig(...)), or save its state_dict()"
            )
        write_converted(save_directory, self, self.built_from, source="save_pretrained")
        tokenizer = getattr(getattr(self, "text", None), "tokenizer", None)
        if tokenizer is not None and hasattr(tokenizer, "save_pretrained"):
            tokenizer.save_pretrained(save_directory / TOKENIZER)

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
        **stored: Any,  # what the mixin has read of config.json, which is read again with the weights
    ) -> Any:
        """The system in a folder or on the Hub, in eval mode. Raises as `fewshot.load`, and for another system."""
        from fewshot.inference.loading import load_folder

        folder = Path(model_id)
        if not folder.is_dir():
            options = dict(revision=revision, cache_dir=cache_dir, force_download=force_download, token=token)
            folder = download(model_id, local_files_only=local_files_only, **options)
        system = load_folder(folder, text_weights=text_weights, device=device)
        if not isinstance(system, cls):
            raise ValueError(f"{model_id} holds a {type(system).__name__}, not a {cls.__name__}")
        return system

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The README of a saved folder: what it is and how it is used."""
        return ModelCard(card_text(self))


def card_text(system: Any) -> str:
    """The model card of a system."""
    parts = {"support": "support=[(image, mask)]", "expression": 'text="the words that refer to it"'}
    shown = system.needs or system.accepts
    accepts = {"support": "supports (images with masks)", "expression": "words"}
    return CARD.format(
        name=system.name,
        tags="\n".join(f"- {tag}" for tag in sorted({"few-shot-segmentation", system.name})),
        folder="FOLDER",
        example=", ".join(["image", *(parts[p] for p in sorted(shown, reverse=True))]),
        accepts=" and ".join(accepts[p] for p in sorted(system.accepts, reverse=True)),
        size=system.test_size,
        rule=RULES[system.test_rule],
        parameters=sum(p.numel() for p in system.parameters()),
    )
