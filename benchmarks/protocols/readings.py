"""Names of the protocols of each kind of task without classes, the usual one first; `tasks` has their rules.

Nothing heavy is imported here, so that help and refusals are quick.
"""

from __future__ import annotations

READINGS: dict[str, tuple[str, ...]] = {
    "vis": ("youtube_vis",),
    "vss": ("vspw_corrected", "vspw", "vspw_baseline"),
    "vps": ("vipseg_corrected", "vipseg"),
    "pvos": ("viposeg_corrected", "viposeg"),
}
