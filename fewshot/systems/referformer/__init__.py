"""ReferFormer (CVPR 2022)."""

from fewshot.systems.config import OFFICIAL_TRUNK, TRUNK_TESTS, WORDS_ALONE
from fewshot.systems.referformer.config import SMALL, STAGES, ReferFormerConfig
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
        tests={**TRUNK_TESTS, **dict.fromkeys(("a2d", "jhmdb"), {"task.masks_by_nearest": True})},
        words_alone=WORDS_ALONE,
        small=SMALL,
    ),
)
