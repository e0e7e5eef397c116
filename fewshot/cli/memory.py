"""What the C library does with memory that tensors on the CPU have given back."""

from __future__ import annotations

import ctypes
import os
import platform

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h
NEVER = 2**31 - 1  # bytes that are free, or asked for


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory for later tensors, unless the environment says otherwise.

    Each chunk of a video and each step of a training asks for the same large tensors as the one before. By default
    they are returned to the system and mapped anew, and it fills every page with zeros: three tenths of the processor
    time of a test of CMA on frames of 360x640. The process then stays as large as its peak.

    Returns:
        Whether it is so; False for other C libraries and where the environment sets malloc up.
    """
    told = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if told or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all([mallopt(MMAP_THRESHOLD, NEVER), mallopt(TRIM_THRESHOLD, NEVER)])
