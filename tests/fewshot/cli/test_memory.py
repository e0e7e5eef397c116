"""Freed memory stays with the process."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import torch
from fewshot.cli.memory import keep_freed_memory

print(keep_freed_memory())
torch.set_num_threads(1)
for _ in range(12):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(20_000_000).fill_(1.0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def kept_and_pages(**environment: str) -> tuple[bool, int]:
    """Whether memory is kept, and the pages that the system hands out for a tensor of 80 MB after others like it."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], check=True, capture_output=True, text=True, env={**own, **environment}
    )
    kept, pages = done.stdout.split()
    return kept == "True", int(pages)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep freed memory")
def test_a_large_tensor_takes_the_memory_of_those_before() -> None:
    kept, pages = kept_and_pages()
    assert kept
    assert pages < 50


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep freed memory")
def test_the_environment_has_the_last_word() -> None:
    kept, pages = kept_and_pages(MALLOC_TRIM_THRESHOLD_="1000000")
    assert not kept
    assert pages > 10_000
