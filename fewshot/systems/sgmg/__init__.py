"""SgMg (ICCV 2023)."""

from fewshot.systems.config import OFFICIAL_TESTS, TRUNK_TESTS, WORDS_ALONE
from fewshot.systems.sgmg.config import OFFICIAL, SMALL, STAGES, SgMgConfig
from fewshot.systems.spec import Later, SystemSpec

SPECS = (
    SystemSpec(
        name="sgmg",
        config=SgMgConfig,
        build=Later("fewshot.systems.sgmg.build:build"),
        plan=Later("fewshot.systems.sgmg.checkpoint:plan_of"),
        fit=Later("fewshot.systems.sgmg.build:fit"),
        needs=frozenset({"expression"}),
        official=OFFICIAL,
        stages=STAGES,
        tests=TRUNK_TESTS,
        official_tests=OFFICIAL_TESTS,
        words_alone=WORDS_ALONE,
        small=SMALL,
    ),
)
