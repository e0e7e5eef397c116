"""The result of a run of `-m` that failed."""

from __future__ import annotations

import math
from typing import ClassVar


class Failed(float):
    """NaN, which search algorithms know; what went wrong is kept in `told`, once for each run.

    A launcher starts runs in other processes, and gets their results pickled: `told` hears of it where it arrives, too.
    """

    told: ClassVar[list[str]] = []
    reason: str

    def __new__(cls, reason: str) -> Failed:
        self = super().__new__(cls, math.nan)
        self.reason = reason
        if reason not in cls.told:
            cls.told.append(reason)
        return self

    def __reduce__(self) -> tuple[type[Failed], tuple[str]]:
        return Failed, (self.reason,)
