"""Official tensor names of the parts that the main model and the SAM variant of UniRef++ share: `(official, own)`.

Both sides begin where the part begins; `under` puts a part's place in front.
"""

from __future__ import annotations

from collections.abc import Iterable

Rows = tuple[tuple[str, str], ...]

FUSION: Rows = (
    ("norm_v.", "norm_tokens."),
    ("norm_l.", "norm_keys."),
    ("attn.q_proj.", "query."),
    ("attn.k_proj.", "key."),
    ("attn.v_proj.", "value."),
    ("attn.out_proj.", "out."),
    ("adaLN_modulation.1.", "modulation."),
)

TEXT_PROJECTION: Rows = (("fc.", "linear."), ("layer_norm.", "norm."))

_FUSER: Rows = (
    ("block1.downsample.", "block1.shortcut."),
    ("attention.ChannelGate.mlp.1.", "attention.squeeze."),
    ("attention.ChannelGate.mlp.3.", "attention.expand."),
    ("attention.SpatialGate.spatial.conv.", "attention.place."),
    ("", ""),
)


def under(official: str, own: str, rows: Iterable[tuple[str, str]]) -> Rows:
    """The rows of a part that lies at `official` in their tree and at `own` in ours."""
    return tuple((official + theirs, own + ours) for theirs, ours in rows)


VALUE_ENCODER: Rows = (
    *(row for i in range(4) for row in under(f"fuser{i + 2}.", f"fusers.{i}.", _FUSER)),
    *under("fuser.", "fuser.", _FUSER),
    ("final_layer.", "last."),
    ("", "body."),
)
