"""The commands of the service's own parts: API, workers and beat."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

# Serves the queue of critical and high tasks alone: one of them starts at once, whatever fills the other workers.
EXPRESS = "express"
EXPRESS_QUEUE = "high_priority"


def api_command(options: argparse.Namespace, port: int, *, grace: int = 5) -> list[str]:
    """The API on this port. Requests that are under way have `grace` seconds once it is told to stop."""
    command = ["uvicorn", "app.main:app", "--host", options.host, "--port", str(port), "--no-server-header",
               "--http", "app.api.http.protocol:BoundedProtocol", "--ws", "none", "--no-access-log",
               "--timeout-graceful-shutdown", str(grace)]  # fmt: skip
    if not os.environ.get("FORWARDED_ALLOW_IPS"):
        # uvicorn would trust any client of this machine to name its address, by which logins are throttled.
        command.append("--no-proxy-headers")
    if options.api_workers > 1:
        command += ["--workers", str(options.api_workers)]
    return command


def worker_commands(options: argparse.Namespace, name_of: Callable[[str], str] = str) -> dict[str, list[str]]:
    """The workers by their names: as many as the options ask for, and the express slot.

    `name_of` gives each another name than a worker that is still there.
    """
    if options.no_worker:
        return {}
    kinds = {f"worker{number + 1}": ["-c", str(options.concurrency)] for number in range(options.workers)}
    kinds[EXPRESS] = ["-c", "1", "-Q", EXPRESS_QUEUE]
    named = {name_of(name): more for name, more in kinds.items()}
    return {
        name: [*_celery(options), "worker", "-l", "info", "-n", f"{name}@%h", *more] for name, more in named.items()
    }


def beat_command(options: argparse.Namespace, schedule: Path) -> list[str]:
    """Beat, which keeps its schedule in this file."""
    return [*_celery(options), "beat", "-l", "info", "-s", str(schedule)]


def _celery(options: argparse.Namespace) -> list[str]:
    return ["app.messaging.command_line", *([] if options.verbose else ["--quiet"])]
