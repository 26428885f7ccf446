"""The commands of the service's own parts: API, workers and beat."""

import argparse
import os
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


def worker_commands(options: argparse.Namespace) -> dict[str, list[str]]:
    """The workers by their names: as many as the options ask for, and the express slot."""
    if options.no_worker:
        return {}
    commands = {
        name: [*_celery(options), "worker", "-l", "info", "-n", f"{name}@%h", "-c", str(options.concurrency)]
        for name in (f"worker{number + 1}" for number in range(options.workers))
    }
    express = [*_celery(options), "worker", "-l", "info", "-n", f"{EXPRESS}@%h", "-c", "1", "-Q", EXPRESS_QUEUE]
    return {**commands, EXPRESS: express}


def beat_command(options: argparse.Namespace, schedule: Path) -> list[str]:
    """Beat, which keeps its schedule in this file."""
    return [*_celery(options), "beat", "-l", "info", "-s", str(schedule)]


def _celery(options: argparse.Namespace) -> list[str]:
    return ["app.messaging.command_line", *([] if options.verbose else ["--quiet"])]
