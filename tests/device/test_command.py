"""What `codec-device bench` measures of itself."""

from __future__ import annotations

import subprocess
import sys

CHILD = "from codec.device.command import peak_mb; print(peak_mb())"
PARENT = f"""
import subprocess, sys
held = bytearray(b"x") * (600 << 20)
subprocess.run([sys.executable, "-c", {CHILD!r}], check=True)
"""


def test_the_peak_is_the_commands_own_and_not_what_started_it_held() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PARENT], capture_output=True, text=True, check=True, timeout=120
    )
    assert 10 < float(done.stdout) < 400
