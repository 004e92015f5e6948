"""Memory that was freed is used again."""

import platform
import subprocess
import sys

import pytest

ANSWERS = 200
PAGE_FAULTS = f"""
import resource
from api import memory

def answer():
    return "".join(["x" * 1_700] * 200).encode()

memory.keep_freed()
answer()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({ANSWERS}):
    answer()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_large_answers_do_not_ask_the_system_for_their_memory_again_and_again() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PAGE_FAULTS], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(done.stdout) < ANSWERS  # Otherwise it is a hundred times as many.
