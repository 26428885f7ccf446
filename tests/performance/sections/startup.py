"""Start times: an API process's import, a worker until it is ready, beside their comparators, and `run_server.py` as a whole."""

import io
import resource
import subprocess
import sys
import tarfile
import time
from contextlib import AbstractContextManager
from pathlib import Path

from tests.performance.bench import Bench
from tests.performance.findings import Findings
from tests.performance.goals import Goal, ratio
from tests.performance.processes import cpu_seconds
from tests.performance.whole_start import whole_start
from tests.support.services import ROOT, process_environment
from tests.support.stack import Part

BEFORE = "25b4614"  # the version before each statement stood once, each end was told once, …


def measure(bench: Bench) -> Findings:
    findings = Findings("startup")
    before = _sources_of(BEFORE, bench.directory / BEFORE)
    at_before: list[float] = []
    imports: dict[str, list[float]] = {"app.main": [], "tests.performance.comparators.bare": []}
    ready: dict[str, list[tuple[float, float]]] = {"ours": [], "plain Celery": []}
    with bench.new_stack() as stack:
        for source in (ROOT, before):
            _import("app.main", stack.settings, source)  # bytecode is written once
        for _ in range(bench.size.rounds):
            for module, seconds in imports.items():
                seconds.append(_import(module, stack.settings))
            at_before.append(_import("app.main", stack.settings, before))
            ready["ours"].append(_ready(bench.worker(stack)))
            ready["plain Celery"].append(_ready(bench.raw_worker(bench.services.new_broker())))
    ours, bare = imports.values()
    note = f"a bare FastAPI process: {sorted(bare)[len(bare) // 2]:.2f} s"
    findings.compare("import of the API process, CPU", "—", Goal(at_most=1.2, unit="s"), ours, note)
    if before is not None:
        times = [ratio(*pair) for pair in zip(ours, at_before, strict=True)]
        findings.compare("import of the API process, CPU", BEFORE, Goal(at_most=0.75), times)
    theirs = sorted(ready["plain Celery"])[len(bare) // 2]
    note = f"plain Celery: {theirs[0]:.2f} s, {theirs[1]:.2f} s of CPU"
    seconds = [wall for wall, _ in ready["ours"]]
    findings.compare("worker -c 2, from its start until ready", "—", Goal(at_most=3, unit="s"), seconds, note)
    findings.details = {"import_cpu_seconds": imports, "worker_ready_seconds_and_cpu": ready}
    _whole(findings, bench)
    return findings


def _whole(findings: Findings, bench: Bench) -> None:
    """`run_server.py`, on a data directory that it has made, five parts and its own servers."""
    data = bench.directory / "data"
    with whole_start(data):
        pass
    seen: dict[str, list[float]] = {"cpu": [], "seconds": [], "memory": [], "idle": [], "replaced": []}
    for _ in range(bench.size.rounds):
        with whole_start(data) as started:
            seen["cpu"].append(started.cpu)
            seen["seconds"].append(started.seconds)
            seen["idle"].append(started.idle_cpu())
            seen["memory"].append(started.memory())
            seen["replaced"].append(started.replace_worker())
    rows = {
        "cpu": ("warm start until ready, CPU of all processes", Goal(at_most=5, unit="s")),
        "seconds": ("warm start until ready", Goal(at_most=4, unit="s")),
        "replaced": ("a worker is killed, until another one serves", Goal(at_most=1.5, unit="s")),
        "memory": ("all Python processes, PSS", Goal(at_most=310, unit="MiB")),
        "idle": ("CPU of all processes while nothing is asked of them", Goal(at_most=4, unit="% of a core")),
    }
    for name, (what, goal) in rows.items():
        findings.compare(f"run_server.py: {what}", "—", goal, seen[name])
    findings.details = {**findings.details, "run_server": seen}


def _sources_of(commit: str, directory: Path) -> Path | None:
    """The application of that commit, unpacked there; None without it."""
    archive = subprocess.run(["git", "archive", commit, "app"], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        return None
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(directory, filter="data")
    return directory


def _import(module: str, settings: dict[str, str], source: Path | None = ROOT) -> float:
    """CPU seconds of an import from these sources; 0 without them."""
    if source is None:
        return 0.0
    variables = {**process_environment(settings), "PYTHONPATH": f"{source}:{ROOT}"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", f"import {module}"], env=variables, cwd=source, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _ready(worker: AbstractContextManager[Part]) -> tuple[float, float]:
    """Seconds until the worker says that it is ready, and of CPU of it and its children."""
    begun = time.perf_counter()
    with worker as part:
        return time.perf_counter() - begun, cpu_seconds([part.pid])
