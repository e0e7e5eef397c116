"""What varies in a sweep, as Optuna's distributions, samplers and pruners."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.pruners import BasePruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from episodes.seeding import derive
from fewshot.sweeps.specification import Sweep, refuse_none, refuse_unknown, whole_number

DISTRIBUTIONS = (
    "categorical",
    "int_uniform",
    "uniform",
    "q_uniform",
    "log_uniform",
    "log_uniform_values",
)
KEYS = ("distribution", "values", "min", "max", "q")
MOST_CELLS = 100_000
Space = Mapping[str, BaseDistribution]


def space_of(sweep: Sweep) -> Space:
    """The distribution of each parameter that varies.

    Raises:
        ValueError: a parameter that Optuna cannot draw as W&B does, or that a grid cannot list; it is named.
    """
    space = {name: distribution(spec, f"{sweep.path}: parameters.{name}") for name, spec in sweep.parameters.items()}
    if sweep.method == "grid":
        for name, drawn in space.items():
            if isinstance(drawn, FloatDistribution) and drawn.step is None:
                raise ValueError(
                    f"{sweep.path}: parameters.{name} has endless values, which method=grid cannot list: give values, "
                    "whole numbers from min to max, or distribution: q_uniform"
                )
    return space


def distribution(spec: Mapping[str, Any], place: str) -> BaseDistribution:
    """The distribution that the keys of one parameter describe. Raises ValueError, with `place`, for what is none."""
    if "parameters" in spec:
        raise ValueError(f"{place} is nested: write its keys with dots, such as optim.lr, as the command line does")
    refuse_unknown(spec, KEYS, place)
    kind = spec.get("distribution", "categorical" if "values" in spec else _of_limits(spec, place))
    if kind not in DISTRIBUTIONS:
        raise ValueError(f"{place}: distribution={kind} is not one of Optuna's: valid are {', '.join(DISTRIBUTIONS)}")
    if kind == "categorical":
        return CategoricalDistribution(_choices(spec, place))
    low, high = (_number(spec.get(name), f"{place}.{name}") for name in ("min", "max"))
    if low > high:
        raise ValueError(f"{place}: min={low} is more than max={high}")
    if kind == "q_uniform":
        return _in_steps(low, high, _number(spec.get("q", 1), f"{place}.q"), place)
    if "q" in spec:
        raise ValueError(f"{place}: q belongs to distribution: q_uniform")
    if kind == "int_uniform":
        if not (isinstance(low, int) and isinstance(high, int)):
            raise ValueError(f"{place}: int_uniform takes whole numbers, not {low} and {high}")
        return IntDistribution(low, high)
    if kind == "log_uniform":  # its limits are exponents of e
        low, high = math.exp(low), math.exp(high)
    if kind != "uniform" and low <= 0:
        raise ValueError(f"{place}: min={low}: a logarithm takes numbers above 0")
    return FloatDistribution(low, high, log=kind != "uniform")


def cells(space: Space) -> list[dict[str, Any]]:
    """Every combination of the values of a grid, the last parameter changing fastest.

    Raises ValueError for more than `MOST_CELLS` of them.
    """
    values = {name: _listed(drawn) for name, drawn in space.items()}
    if (count := math.prod(map(len, values.values()))) > MOST_CELLS:
        raise ValueError(f"the grid has {count:,} runs, more than {MOST_CELLS:,}: take method: random")
    return [dict(zip(values, cell, strict=True)) for cell in product(*values.values())]


def sampler(method: str, seed: int, place: int) -> BaseSampler:
    """What draws the values of the run at `place` of the plan: at random it depends on nothing but seed and place."""
    own = derive("sweep", seed, place) % 2**32
    if method != "bayes":
        return RandomSampler(seed=own)
    return TPESampler(seed=own, constant_liar=True)  # which keeps workers from drawing what others are trying


def pruner(sweep: Sweep) -> BasePruner:
    """What ends bad runs: W&B's `hyperband`, which is asynchronous successive halving (Li et al., MLSys 2020).

    Iterations are validations, counted from 1. Raises ValueError for a rule that is not understood.
    """
    if not sweep.early:
        return NopPruner()
    place, early = f"{sweep.path}: early_terminate", sweep.early
    refuse_unknown(early, ("type", "min_iter", "max_iter", "s", "eta"), place)
    if early.get("type") != "hyperband":
        raise ValueError(f"{place}.type={early.get('type')}: valid is hyperband")
    first, last, halvings, eta = (
        whole_number(early.get(name), f"{place}.{name}") for name in ("min_iter", "max_iter", "s", "eta")
    )
    eta = 3 if eta is None else eta
    if eta < 2:
        raise ValueError(f"{place}.eta={eta}: give a whole number of at least 2")
    if (first is None) == (last is None) or (last is None) != (halvings is None):
        raise ValueError(f"{place}: give min_iter, or max_iter and s")
    if first is None:
        assert last is not None and halvings is not None
        first = max(1, last // eta**halvings)
    return SuccessiveHalvingPruner(min_resource=first, reduction_factor=eta)


def _of_limits(spec: Mapping[str, Any], place: str) -> str:
    """The distribution that W&B takes for `min` and `max` alone."""
    if not {"min", "max"} <= set(spec):
        raise ValueError(f"{place}: give value, values, or min and max")
    if "q" in spec:
        return "q_uniform"
    return "int_uniform" if all(isinstance(spec[name], int) for name in ("min", "max")) else "uniform"


def _choices(spec: Mapping[str, Any], place: str) -> list[bool | int | float | str]:
    refuse_unknown(spec, ("distribution", "values"), place)
    values = spec.get("values")
    if not isinstance(values, list) or not values:
        raise ValueError(f"{place}: give values as a list")
    for value in values:
        refuse_none(value, place)
    # Lists and tables are handed over as the text that the command line gets; Optuna keeps plain values alone.
    plain = [value if isinstance(value, (bool, int, float, str)) else str(value) for value in values]
    if len(set(map(repr, plain))) < len(plain):
        raise ValueError(f"{place}: values holds one of them twice")
    return plain


def _number(value: Any, place: str) -> float:
    if isinstance(value, str):
        raise ValueError(f"{place}: {value!r} is text to YAML: write numbers with a point, such as 1.0e-4")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{place}={value}: give a finite number")
    return value


def _in_steps(low: float, high: float, step: float, place: str) -> BaseDistribution:
    """Numbers from `low` on in steps, the last of them at most `high`."""
    if step <= 0:
        raise ValueError(f"{place}: q={step}: give a number above 0")
    if all(isinstance(value, int) for value in (low, high, step)):
        return IntDistribution(int(low), int(high - (high - low) % step), step=int(step))
    count = math.floor((high - low) / step + 1e-9)
    return FloatDistribution(float(low), round(low + count * step, 12), step=float(step))


def _listed(drawn: BaseDistribution) -> list[Any]:
    if isinstance(drawn, CategoricalDistribution):
        return list(drawn.choices)
    if isinstance(drawn, IntDistribution):
        return list(range(drawn.low, drawn.high + 1, drawn.step))
    assert isinstance(drawn, FloatDistribution) and drawn.step is not None  # `space_of` has refused others
    count = round((drawn.high - drawn.low) / drawn.step)
    return [round(drawn.low + k * drawn.step, 12) for k in range(count + 1)]
