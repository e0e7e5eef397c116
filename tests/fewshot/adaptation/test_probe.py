"""The linear probe reaches the optimum that scipy finds, and segments what supports show."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from episodes.batch import References
from fewshot.adaptation.build import adapting
from fewshot.adaptation.probe import fitted
from fewshot.config.sections import AdaptationConfig
from fewshot.inference.chunks import evaluating
from fewshot.systems.registry import make_system, systems
from fewshot.testing import noise_clips


@pytest.mark.parametrize("decay", [1e-2, 1e-4])
def test_the_classifier_is_the_optimum_of_scipys_l_bfgs(decay: float) -> None:
    torch.manual_seed(0)
    cells = torch.nn.functional.normalize(torch.randn(200, 12, dtype=torch.float64), dim=1)
    there = (cells[:, 0] + 0.3 * torch.randn(200, dtype=torch.float64)).sigmoid().round(decimals=1)
    other = 0.9 - 0.9 * there  # some of a cell may be padding

    def objective(found: np.ndarray) -> tuple[float, np.ndarray]:
        x, t, o = cells.numpy(), there.numpy(), other.numpy()
        logits = x @ found[:-1] + found[-1]
        t, o = t / t.sum() / 2, o / o.sum() / 2
        value = (t * np.logaddexp(0, -logits) + o * np.logaddexp(0, logits)).sum()
        slope = o - (t + o) / (1 + np.exp(logits))
        return value + decay / 2 * (found[:-1] ** 2).sum(), np.append(x.T @ slope + decay * found[:-1], slope.sum())

    best = minimize(objective, np.zeros(13), jac=True, method="L-BFGS-B", options={"ftol": 1e-16, "gtol": 1e-10})
    weights, bias = fitted(cells, there, other, decay)
    value, gradient = objective(np.append(weights.numpy(), bias.numpy()))
    assert value <= best.fun + 1e-10
    assert np.abs(gradient).max() < 1e-6
    assert np.allclose(weights.numpy(), best.x[:-1], atol=1e-3)


def test_it_segments_what_the_supports_show_without_training() -> None:
    spec = systems()["prototype"]
    probe = adapting(
        make_system(spec.config(name=spec.name, **spec.small), 0), AdaptationConfig("linear_probe", decay=1e-6)
    )
    supports = noise_clips(2, seed=1, words=False)
    queries = supports.take([0, 0, 1, 1])
    references = References(supports, 1, queries.expressions)  # two episodes of two queries
    with evaluating(probe):
        prediction = probe(queries, probe.encode_reference(references))
        for n, truth in enumerate(queries.masks):
            mask = probe.probabilities(prediction, queries, n) > 0.5
            assert truth is not None
            assert float((mask & truth).sum() / (mask | truth).sum()) > 0.7


def test_empty_masks_give_a_classifier_that_finds_nothing() -> None:
    cells = torch.nn.functional.normalize(torch.randn(50, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    weights, bias = fitted(cells, torch.zeros(50), torch.ones(50), 1e-4)
    assert bool(((cells @ weights + bias) < 0).all())
