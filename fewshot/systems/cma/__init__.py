"""CMA (ICCV 2023), its baseline and its self-affinity variant."""

from fewshot.systems.cma.config import OFFICIAL, SMALL, CMAConfig
from fewshot.systems.spec import Later, SystemSpec

SPECS = (
    SystemSpec(
        name="cma",
        config=CMAConfig,
        build=Later("fewshot.systems.cma.build:build"),
        plan=Later("fewshot.systems.cma.checkpoint:plan_of"),
        fit=Later("fewshot.systems.cma.build:fit"),
        needs=frozenset({"support", "expression"}),
        official=OFFICIAL,
        small=SMALL,
    ),
)
