from __future__ import annotations

from episodes.cli import did_you_mean


def test_the_closest_key_is_proposed() -> None:
    assert did_you_mean("shot", ["group", "shots", "seed"]) == " Did you mean 'shots'?"
    assert did_you_mean("zzz", iter(["group", "shots"])) == ""
