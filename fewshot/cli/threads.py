"""How the threads of torch wait for each other; it has to be said before torch is loaded."""

from __future__ import annotations

import os

# Threads that wait for work spin on their core by default. That gains little where the machine is idle, and where
# another process wants the core, each pass of a small network waits for a thread that does not run.
PATIENT = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}


def wait_patiently() -> None:
    """Let waiting threads sleep, unless the environment says otherwise. No effect once torch is loaded."""
    for name, value in PATIENT.items():
        os.environ.setdefault(name, value)
