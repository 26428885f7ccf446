"""The client beside bare httpx: its import, the start of its command line, a batch, and a thousand tasks watched at once."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx

from task_service_client import Client
from tests.performance.bench import QUIET, ROOM, Bench
from tests.performance.findings import Findings
from tests.performance.goals import Goal, ratio
from tests.support.running import Running
from tests.support.services import ROOT

BATCHED, WATCHED, TRIES = 10_000, 1_000, 5
BATCH = "/api/v1/tasks/batch"
BODY: dict[str, Any] = {"name": "n", "task_type": "client", "celery_task_name": "measured.noop"}
HELLO = "import typer\napp = typer.Typer()\n\n\n@app.command()\ndef hello(name: str = 'x') -> None:\n    print(name)\n\n\napp()\n"
IMPORTS = ("import httpx; from pydantic import BaseModel", "from task_service_client import Client")


def measure(bench: Bench) -> Findings:
    findings = Findings("client")
    hello = bench.directory / "hello.py"
    hello.write_text(HELLO, encoding="utf-8")
    tries = bench.size.repeats(TRIES)
    bare, ours = _costs(tries, [("-c", code) for code in IMPORTS])
    findings.compare(
        "import of the client, CPU", "httpx and pydantic's BaseModel", Goal(at_most=1.3), _ratios(ours, bare)
    )
    command = ("-m", "task_service_client.cli", "--help")
    bare, ours = _costs(tries, [(str(hello), "--help"), command])
    findings.compare("task-service --help, CPU", "hello world in typer", Goal(at_most=1.5), _ratios(ours, bare))
    with bench.new_stack(**ROOM) as stack:
        stack.server(options=QUIET)
        running = Running(stack)
        with Client(stack.url, api_key=running.token, timeout=60) as client:
            batches = [_batches(client, running.http) for _ in range(bench.size.repeats(3))]
            ids = [task.id for task in client.batch([BODY] * WATCHED)]
            with bench.worker(stack):
                ended = {task.id for task in client.watch(*ids) if task.status == "succeeded"}
    findings.compare(f"{BATCHED:,} tasks by batch, a second", "bare httpx", Goal(at_least=0.9), batches)
    findings.compare("tasks watched by one connection to their end", "—", Goal(at_least=WATCHED, unit=""), [len(ended)])
    return findings


def _batches(client: Client, http: httpx.Client) -> float:
    """Return how many times as many tasks a second the client creates."""
    bodies = [BODY] * BATCHED

    def by_hand() -> list[Any]:
        made: list[Any] = []
        for first in range(0, BATCHED, 1000):
            body, key = {"tasks": bodies[first : first + 1000]}, {"Idempotency-Key": str(uuid4())}
            made += http.post(BATCH, json=body, headers=key, timeout=60).raise_for_status().json()["tasks"]
        return made

    def ours() -> list[Any]:
        return client.batch(bodies)

    # In this order, because the table grows meanwhile.
    first, mine, mine_again, last = map(_seconds, (by_hand, ours, ours, by_hand))
    return ratio(first + last, mine + mine_again)


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _costs(tries: int, commands: list[tuple[str, ...]]) -> list[list[float]]:
    """Return the CPU seconds of each command, in turn with the others."""
    found: list[list[float]] = [[] for _ in commands]
    for _ in range(tries):
        for costs, command in zip(found, commands, strict=True):
            costs.append(_cpu(command))
    return found


def _cpu(command: tuple[str, ...]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "client")}
    subprocess.run([sys.executable, *command], env=environment, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _ratios(ours: list[float], bare: list[float]) -> list[float]:
    return [ratio(*pair) for pair in zip(ours, bare, strict=True)]
