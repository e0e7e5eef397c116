"""Tests of the episodes."""
