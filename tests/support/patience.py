"""How much slower than usual this machine is now: the factor by which the helpers of the tests wait longer.

No test gets a longer deadline for a slow machine: `wait_for` multiplies all of them. What the service promises within a time
is compared with the time that was measured, whatever the factor. `run_tests.py` measures once, and its processes read the
factor from TEST_PATIENCE.
"""

import os
import subprocess
import sys
import time

VARIABLE = "TEST_PATIENCE"
# What the measured work takes on the machine for which the deadlines were chosen: two cores, nothing beside.
USUAL_SECONDS = 0.5
MOST = 4.0
_WORK = "x = 0\nfor i in range(2_000_000): x = (x * 31 + i) & 0xFFFF"


def measure_patience() -> float:
    """1 to 4. As many processes work as there are cores, so that what runs beside them is felt."""
    begun = time.monotonic()
    works = [subprocess.Popen([sys.executable, "-I", "-S", "-c", _WORK]) for _ in range(os.cpu_count() or 1)]
    for work in works:
        work.wait()
    return min(MOST, max(1.0, (time.monotonic() - begun) / USUAL_SECONDS))


PATIENCE = float(os.environ.get(VARIABLE, "1"))
