"""Tests of the samplers and of frozen lists."""
