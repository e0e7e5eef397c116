"""UniVS (Li et al., CVPR 2024)."""

from episodes.transforms.input_rule import InputRule
from fewshot.systems.spec import Later, SystemSpec
from fewshot.systems.univs.config import SMALL, UniVSConfig

SPECS = (
    SystemSpec(
        name="univs",
        config=UniVSConfig,
        build=Later("fewshot.systems.univs.build:build"),
        plan=Later("fewshot.systems.univs.checkpoint:plan"),
        fit=Later("fewshot.systems.univs.build:fit"),
        needs=frozenset(),
        input_rule=InputRule("short", 640, 1333),  # as in the released tests
        small=SMALL,
    ),
)
