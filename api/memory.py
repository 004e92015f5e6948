"""What the C library does with memory that is free again.

Glibc gives the end of its heap back to the system as soon as the free part is larger than a bound
that it finds by itself, and asks for it anew with the next answer: a page of 200 runs is 357 kB as
text and as much again as bytes, which took two system calls and 90 page faults each time, a quarter
of what the page cost.
"""

import ctypes

KEPT_BYTES = 4 * 1024 * 1024
"""So much free memory may stay at the end of a heap; there is one for each thread that has much to
do. What is larger is asked of the system, and given back, by itself. Glibc's own bounds grow with
what is freed, up to 64 MiB and 32 MiB; they are fixed with this."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""As <malloc.h> has them."""


def keep_freed() -> None:
    """Keep up to `KEPT_BYTES` for what comes next, from now on; without effect where the C library
    is not glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_MMAP_THRESHOLD, KEPT_BYTES)
