"""Test episodes that were frozen in a manifest."""

from __future__ import annotations

from collections.abc import Sequence

from episodes.episode import EpisodeSpec
from episodes.folds import Folds
from episodes.sampling.manifest import read_manifest
from episodes.sources.base import Source


def frozen_tests(manifest: str, group: int, shots: int, source: Source, folds: Folds) -> list[list[EpisodeSpec]]:
    """The test episodes of a fold in a manifest, one list per seed.

    Args:
        manifest: path of the file; `{group}` in it is filled in.
        group: the fold.
        shots: supports that an episode is to have.
        source, folds: of the data set.

    Raises:
        ValueError: there is no episode of the group, another number of shots, or episodes that are no test of it.
    """
    manifest = manifest.replace("{group}", str(group))
    specs = [spec for spec in read_manifest(manifest, source) if spec.group == group]
    check_test(specs, folds, manifest)
    if not specs:
        raise ValueError(f"manifest={manifest} has no episode of group {group}: give the group that it was frozen for")
    frozen = specs[0].shots
    if frozen != shots:
        raise ValueError(f"manifest={manifest} has {frozen} supports per episode, not {shots}: give shots={frozen}")
    return [[spec for spec in specs if spec.seed == seed] for seed in sorted({spec.seed for spec in specs})]


def check_test(specs: Sequence[EpisodeSpec], folds: Folds, manifest: str) -> None:
    """Refuse frozen episodes whose numbers would not be those of held-out classes.

    Raises:
        ValueError: an episode of training or validation, or of a class that its group does not hold out.
    """
    for spec in specs:
        if spec.split != "test":
            raise ValueError(
                f"manifest={manifest} holds episodes of split {spec.split}, which show training classes: freeze the "
                "test of the group with split=test"
            )
        if spec.class_id not in folds.test_classes(spec.group):
            raise ValueError(
                f"manifest={manifest} has an episode of {spec.class_name}, which group {spec.group} of {folds.name} "
                "does not hold out: freeze the episodes again"
            )
