"""The card of a saved model: the README of its folder."""

from __future__ import annotations

from episodes.transforms.input_rule import RULES, InputRule
from fewshot.adaptation.build import told
from fewshot.config.sections import AdaptationConfig
from fewshot.systems.base import System

CARD_FILE = "README.md"
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

It takes {accepts} and sees frames at {size} pixels ({rule}). {parameters:,} parameters.{adaptation}
`config.json` holds what it was built from.
"""


def card_text(system: System, rule: InputRule, adaptation: AdaptationConfig | None) -> str:
    """The card of a system with its input rule and its adaptation, if it has one."""
    parts = {"support": "support=[(image, mask)]", "expression": 'text="the words that refer to it"'}
    accepts = {"support": "supports (images with masks)", "expression": "words"}
    shown, adapts = system.needs or system.accepts, [] if adaptation is None else told(adaptation)
    if not shown:
        parts["classes"], accepts["classes"] = 'classes=["the", "classes", "of", "its", "data"]', "names of classes"
        shown = frozenset({"classes"})
    return CARD.format(
        name=system.name,
        tags="\n".join(f"- {tag}" for tag in sorted({"few-shot-segmentation", system.name})),
        folder="FOLDER",
        example=", ".join(["image", *(parts[p] for p in sorted(shown, reverse=True))]),
        accepts=" and ".join(accepts[p] for p in sorted(system.accepts or shown, reverse=True)),
        size=rule.size,
        rule=RULES[rule.rule],
        parameters=sum(p.numel() for p in system.parameters()),
        adaptation="".join(f" To its supports it adapts first ({one})." for one in adapts),
    )
