"""UniRef++ (Wu et al., 2023), and its plug-in for Segment Anything."""

from episodes.transforms.input_rule import InputRule
from fewshot.systems.spec import Later, SystemSpec
from fewshot.systems.uniref.config import UniRefConfig, UniRefSAMConfig

SPECS = (
    SystemSpec(
        name="uniref",
        config=UniRefConfig,
        build=Later("fewshot.systems.uniref.build:build"),
        plan=Later("fewshot.systems.uniref.checkpoint:plan"),
        fit=Later("fewshot.systems.uniref.build:fit"),
        input_rule=InputRule("short", 480, 768),  # as it is tested on FSS-1000
        video=Later("fewshot.systems.uniref.build:video"),
        official={"text_dropout": True, "exchange_red_and_blue": True},
    ),
    SystemSpec(
        name="uniref_sam",
        config=UniRefSAMConfig,
        build=Later("fewshot.systems.uniref.build:build_with_sam"),
        plan=Later("fewshot.systems.uniref.sam_checkpoint:plan"),
        input_rule=Later("fewshot.systems.uniref.build:rule_of_sam"),
        video=Later("fewshot.systems.uniref.build:video_of_sam"),
        official={"text_dropout": True},
    ),
)
