"""UniRef++ (Wu et al., 2023), and its plug-in for Segment Anything."""

from episodes.transforms.input_rule import InputRule
from fewshot.systems.spec import Later, SystemSpec
from fewshot.systems.uniref.config import SMALL, SMALL_SAM, TESTS, UniRefConfig, UniRefSAMConfig

SPECS = (
    SystemSpec(
        name="uniref",
        config=UniRefConfig,
        build=Later("fewshot.systems.uniref.build:build"),
        needs=frozenset(),
        plan=Later("fewshot.systems.uniref.checkpoint:plan"),
        fit=Later("fewshot.systems.uniref.build:fit"),
        input_rule=InputRule("short", 480, 768),  # as it is tested on FSS-1000
        video=Later("fewshot.systems.uniref.build:video"),
        official={
            "system.text_dropout": True,
            "system.exchange_red_and_blue": True,
            "task.resize_given_masks": True,
        },
        tests=TESTS,
        small=SMALL,
    ),
    SystemSpec(
        name="uniref_sam",
        config=UniRefSAMConfig,
        build=Later("fewshot.systems.uniref.build:build_with_sam"),
        needs=frozenset(),
        plan=Later("fewshot.systems.uniref.sam_checkpoint:plan"),
        input_rule=Later("fewshot.systems.uniref.build:rule_of_sam"),
        video=Later("fewshot.systems.uniref.build:video_of_sam"),
        official={"system.text_dropout": True, "task.resize_given_masks": True, "task.compare_logits": True},
        tests=TESTS,
        small=SMALL_SAM,
    ),
)
