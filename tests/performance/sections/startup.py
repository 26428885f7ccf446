"""Start times: the API process's import, in CPU time, and a worker until it is ready, each beside its comparator."""

import resource
import subprocess
import sys
import time
from contextlib import AbstractContextManager

from tests.performance.bench import Bench
from tests.performance.findings import Findings
from tests.performance.goals import Goal
from tests.performance.processes import cpu_seconds
from tests.support.services import process_environment
from tests.support.stack import Part


def measure(bench: Bench) -> Findings:
    findings = Findings("startup")
    imports: dict[str, list[float]] = {"app.main": [], "tests.performance.comparators.bare": []}
    ready: dict[str, list[tuple[float, float]]] = {"ours": [], "plain Celery": []}
    with bench.new_stack() as stack:
        _import("app.main", stack.settings)  # bytecode is written once
        for _ in range(bench.size.rounds):
            for module, seconds in imports.items():
                seconds.append(_import(module, stack.settings))
            ready["ours"].append(_ready(bench.worker(stack)))
            ready["plain Celery"].append(_ready(bench.raw_worker(bench.services.new_broker())))
    ours, bare = imports.values()
    note = f"a bare FastAPI process: {sorted(bare)[len(bare) // 2]:.2f} s"
    findings.compare("import of the API process, CPU", "—", Goal(at_most=1, unit="s"), ours, note)
    theirs = sorted(ready["plain Celery"])[len(bare) // 2]
    note = f"plain Celery: {theirs[0]:.2f} s, {theirs[1]:.2f} s of CPU"
    seconds = [wall for wall, _ in ready["ours"]]
    findings.compare("worker -c 2, from its start until ready", "—", Goal(at_most=3, unit="s"), seconds, note)
    findings.details = {"import_cpu_seconds": imports, "worker_ready_seconds_and_cpu": ready}
    return findings


def _import(module: str, settings: dict[str, str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", f"import {module}"], env=process_environment(settings), check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _ready(worker: AbstractContextManager[Part]) -> tuple[float, float]:
    """Seconds until the worker says that it is ready, and of CPU of it and its children."""
    begun = time.perf_counter()
    with worker as part:
        return time.perf_counter() - begun, cpu_seconds([part.pid])
