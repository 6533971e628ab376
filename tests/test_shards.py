"""Rows that lie on several devices, which a CPU can stand for."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent / "on_four_devices.py"


def test_rows_on_four_devices_are_those_on_one():
    flags = (
        os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
    )
    done = subprocess.run(
        [sys.executable, str(SCRIPT)],
        env=os.environ | {"XLA_FLAGS": flags.strip()},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout == "as on one device\n", done.stdout + done.stderr
