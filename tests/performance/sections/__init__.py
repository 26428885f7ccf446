"""The sections of the table, a module each: `measure(bench)` brings back its `Findings`."""

import time
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module

from tests.performance.bench import Bench
from tests.performance.findings import Findings

# In the order in which they are measured: what is sensitive to a busy machine before what fills tables.
NAMES = (
    "submit", "batch", "bulk", "read", "pages", "start", "run", "peers", "progress", "steps", "files", "tables", "client", "workflows", "live", "priority", "turns", "schedules", "webhooks", "memory", "startup", "capacity",
    "growth", "claim",
)  # fmt: skip

WAS_STOPPED = "stopped"

Measure = Callable[[Bench], Findings]


def measure_all(bench: Bench, names: Sequence[str], tell: Callable[[str], None]) -> list[Findings]:
    """Each in its turn; one that breaks is an error of its own and stops no other."""
    found: list[Findings] = []
    for name in names:
        tell(f"section {name}")
        begun = time.monotonic()
        try:
            findings = _measure(bench, name)
        except KeyboardInterrupt:  # after an hour of it, what there is is worth a table
            return [*found, Findings(name, errors=[WAS_STOPPED])]
        findings.seconds = time.monotonic() - begun
        found.append(findings)
    return found


def _measure(bench: Bench, name: str) -> Findings:
    measure: Measure = import_module(f"{__name__}.{name}").measure
    bench.forget_account()
    try:
        return measure(bench)
    except Exception as error:  # noqa: BLE001 (whatever it is, it is told, and makes the exit code)
        told = "".join(traceback.format_exception(error)[-3:])
        return Findings(name, errors=[f"{type(error).__name__}: {error}\n{told}"])
