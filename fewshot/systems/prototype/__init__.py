"""One prototype per support (PANet, Wang et al., ICCV 2019): the smallest system, and a baseline."""

from fewshot.systems.prototype.config import PrototypeConfig
from fewshot.systems.spec import Later, SystemSpec

SPECS = (
    SystemSpec(
        name="prototype",
        config=PrototypeConfig,
        build=Later("fewshot.systems.prototype.build:build"),
        needs_training=False,
        small={"backbone": "tiny", "backbone_width": 16, "freeze_backbone": False},
    ),
)
