"""Names of detectron2's backbones in official checkpoints, and ours, which are torchvision's."""

from __future__ import annotations

Rows = tuple[tuple[str, str], ...]


def resnet_rows(prefix: str) -> Rows:
    """Rows of a ResNet that lies at `prefix` in the official file."""
    return (
        (f"{prefix}stem.conv1.norm.", "backbone.body.bn1."),
        (f"{prefix}stem.conv1.", "backbone.body.conv1."),
        *(
            (f"{prefix}res{stage}.*.{official}.", f"backbone.body.layer{stage - 1}.*.{own}.")
            for stage in (2, 3, 4, 5)
            for official, own in (
                *((f"conv{i}.norm", f"bn{i}") for i in (1, 2, 3)),
                *((f"conv{i}", f"conv{i}") for i in (1, 2, 3)),
                ("shortcut.norm", "downsample.1"),
                ("shortcut", "downsample.0"),
            )
        ),
    )


def swin_rows(prefix: str) -> Rows:
    """Rows of a Swin transformer that lies at `prefix` in the official file."""
    return tuple((f"{prefix}{name}", f"backbone.body.{name}") for name in ("patch_embed.", "layers.*.", "norm*."))
