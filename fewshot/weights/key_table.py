"""Names of tensors in official checkpoints, and ours: one table for both directions, and an account of every tensor."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class KeyTable:
    """The table of one system.

    Patterns are prefixes of keys; each `*` stands for a layer number and appears equally often on both sides. The
    first row that fits counts.

    Attributes:
        rows: `(official, own)` patterns.
        aliases: `(official alias, official)` patterns: keys that hold the same tensor as another key, which counts.
        ignored: `(regular expression on official keys, reason)`.
    """

    rows: tuple[tuple[str, str], ...]
    aliases: tuple[tuple[str, str], ...] = ()
    ignored: tuple[tuple[str, str], ...] = ()

    def to_own(self, official: str) -> str | None:
        """Our name of an official tensor; None if the table has none."""
        return _translate(official, self.rows)

    def to_official(self, own: str) -> list[str]:
        """Official names of our tensor, aliases after the name itself; empty if the table has none."""
        name = _translate(own, [(b, a) for a, b in self.rows])
        if name is None:
            return []
        alias = _translate(name, [(b, a) for a, b in self.aliases])
        return [name] if alias is None else [name, alias]

    def is_alias(self, official: str) -> bool:
        """True where the key only repeats another one."""
        return _translate(official, self.aliases) is not None

    def reason_to_ignore(self, official: str) -> str | None:
        """Reason for which an official tensor has no counterpart here; None if it has one or is unknown."""
        return next((reason for pattern, reason in self.ignored if re.search(pattern, official)), None)


@dataclass(frozen=True)
class Plan:
    """Plan for reading one file: its kind in words, its table, and prefixes of our tensors that it may lack."""

    kind: str
    table: KeyTable
    fresh: tuple[str, ...] = ()


def _translate(key: str, rows: Iterable[tuple[str, str]]) -> str | None:
    for source, target in rows:
        found = re.match(re.escape(source).replace(r"\*", r"(\d+)"), key)
        if found:
            for number in found.groups():
                target = target.replace("*", number, 1)
            return target + key[found.end() :]
    return None


@dataclass(frozen=True)
class WeightsReport:
    """Account of the tensors of a file, and of the tensors of the system.

    Attributes:
        source: the file.
        kind: what it is, in words.
        total: number of tensors in the file.
        used: of these, those whose values are now in the system (aliases included).
        aliases: of the used ones, those that only repeat another.
        ignored: the others, with the reason.
        fresh: our tensors that the file has no value for.
    """

    source: str
    kind: str
    total: int
    used: int
    aliases: int
    ignored: Mapping[str, str]
    fresh: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.source}: {self.kind}, {self.used} of {self.total} tensors used"]
        if self.aliases:
            lines[0] += f" ({self.aliases} of them repeat another)"
        for reason in dict.fromkeys(self.ignored.values()):
            keys = [key for key, why in self.ignored.items() if why == reason]
            lines.append(f"  not used, {reason}: {_summary(keys)}")
        if self.fresh:
            lines.append(f"  start from scratch: {_summary(self.fresh)}")
        return "\n".join(lines)


def _summary(keys: Iterable[str]) -> str:
    """Keys grouped by their first two parts, with counts."""
    groups: dict[str, int] = {}
    for key in keys:
        parts = key.split(".")
        name = ".".join(parts[: 2 if len(parts) > 2 else 1])
        groups[name] = groups.get(name, 0) + 1
    return ", ".join(f"{name} ({count})" for name, count in groups.items())


def count_numbered(names: Iterable[str], beginning: str) -> int:
    """Number of the layers or blocks that are called `<beginning><number>.` in names of tensors."""
    numbered = re.compile(rf"{re.escape(beginning)}(\d+)\.")
    return len({found.group(1) for name in names if (found := numbered.match(name))})


def convert(official: Mapping[str, Tensor], table: KeyTable) -> tuple[dict[str, Tensor], dict[str, str], int]:
    """Official tensors under our names, the ignored ones with the reason, and the number of aliases.

    Raises:
        ValueError: for keys that the table does not know.
    """
    own: dict[str, Tensor] = {}
    ignored: dict[str, str] = {}
    unknown: list[str] = []
    aliases = 0
    for key, tensor in official.items():
        reason = table.reason_to_ignore(key)
        name = None if reason else table.to_own(key)
        if reason:
            ignored[key] = reason
        elif table.is_alias(key):
            aliases += 1
        elif name is None:
            unknown.append(key)
        else:
            own[name] = tensor
    if unknown:
        raise ValueError(f"{len(unknown)} unknown tensors: {_first(unknown)}")
    return own, ignored, aliases


def check_fit(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], allowed_missing: Iterable[str] = ()) -> None:
    """Compare the names and shapes of a state dict with those of a system.

    Raises:
        ValueError: naming the tensors that are missing, unknown, or of another shape.
    """
    missing = sorted(set(wanted) - set(found) - set(allowed_missing))
    unknown = sorted(set(found) - set(wanted))
    shapes = [
        f"{name} {tuple(found[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in sorted(set(found) & set(wanted))
        if found[name].shape != wanted[name].shape
    ]
    problems = [
        f"{len(names)} {what}: {_first(names)}"
        for what, names in (("missing", missing), ("unknown", unknown), ("of another shape", shapes))
        if names
    ]
    if problems:
        raise ValueError("tensors do not fit the system; " + "; ".join(problems))


def _first(names: list[str], count: int = 5) -> str:
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")
