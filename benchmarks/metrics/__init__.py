"""Metrics as the field defines them: a pure function per definition and a small accumulator per evaluator."""

from __future__ import annotations

from benchmarks.metrics.jf import boundary_f, boundary_map, j_and_f, jaccard

__all__ = ["boundary_f", "boundary_map", "j_and_f", "jaccard"]
