"""ReferFormer (CVPR 2022)."""

from fewshot.systems.config import OFFICIAL_TESTS, OFFICIAL_TRUNK, WORDS_ALONE
from fewshot.systems.referformer.config import SMALL, STAGES, TESTS, ReferFormerConfig
from fewshot.systems.spec import Later, SystemSpec

SPECS = (
    SystemSpec(
        name="referformer",
        config=ReferFormerConfig,
        build=Later("fewshot.systems.referformer.build:build"),
        plan=Later("fewshot.systems.referformer.checkpoint:plan_of"),
        fit=Later("fewshot.systems.referformer.build:fit"),
        needs=frozenset({"expression"}),
        official=OFFICIAL_TRUNK,
        stages=STAGES,
        tests=TESTS,
        official_tests=OFFICIAL_TESTS,
        words_alone=WORDS_ALONE,
        small=SMALL,
    ),
)
