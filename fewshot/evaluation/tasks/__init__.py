"""Tests of tasks without held-out classes: what is answered at one go, how, what of it is kept and measured."""
