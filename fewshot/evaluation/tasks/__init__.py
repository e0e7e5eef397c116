"""Evaluation of RIS, RVOS and semi-supervised VOS on standard splits."""
