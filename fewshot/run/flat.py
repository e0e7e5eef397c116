"""Nested settings as one level of dotted names."""

from __future__ import annotations

from typing import Any


def flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one with dotted names."""
    values: dict[str, Any] = {}
    for name, value in config.items():
        values.update(flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value})
    return values
