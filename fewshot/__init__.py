"""Few-shot and referring segmentation of images and videos.

`load(path)` gives a trained `Model`, and its `segment(image_or_video, support=[(image, mask), ...], text="...")` the
masks and scores of what is asked for (`Support` says more of one support than a pair can). `segment_episode(model,
episode)` gives the masks of an episode's queries, `example_episode()` an episode to try it on and
`save_episode_picture(path, episode, masks)` a look at the result. Nothing is imported before it is used: `import
fewshot` has no side effects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fewshot._origin import refuse_shadowed

refuse_shadowed()  # before anything is imported from a folder of the user's that bears one of our names

if TYPE_CHECKING:
    from episodes.example import example_episode
    from fewshot.inference.model import Model, load, segment_episode
    from fewshot.inference.supports import Support
    from fewshot.media.pictures import save_episode_picture

__version__ = "0.2.0"
__all__ = ["Model", "Support", "__version__", "example_episode", "load", "save_episode_picture", "segment_episode"]
_HOMES = {
    "Model": "fewshot.inference.model",
    "Support": "fewshot.inference.supports",
    "example_episode": "episodes.example",
    "load": "fewshot.inference.model",
    "save_episode_picture": "fewshot.media.pictures",
    "segment_episode": "fewshot.inference.model",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fewshot' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
