"""`python -m app serve`, `worker` and `beat`: they start, stop and end as uvicorn and Celery do."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from app.launcher.ports import free_loopback_port
from tests.support.running import example_stack
from tests.support.services import ROOT, Services, process_environment
from tests.support.stack import START_SECONDS, Part, Stack
from tests.support.waiting import answers, wait_for

STOP_SECONDS = 30.0
LONG = {
    "serve": ["uvicorn", "app.main:app", "--http", "app.api.http.protocol:BoundedProtocol", "--ws", "none"],
    "worker": ["celery", "-A", "app.celery_app", "worker"],
    "beat": ["celery", "-A", "app.celery_app", "beat"],
}


@pytest.fixture
def stack(services: Services, tmp_path: Path) -> Iterator[Stack]:
    with example_stack(services, tmp_path) as running:
        yield running.stack


def started(stack: Stack, name: str, form: Sequence[str]) -> Part:
    """The part, once it does its work."""
    if name == "serve":
        port = free_loopback_port()
        part = stack.start_part(name, [*form, "--port", str(port), "--limit-concurrency", "50"], None)
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: answers(url, "/healthz") or not part.running, START_SECONDS, f"{name} to answer")
        assert part.running, part.tail()
        return part
    options = {
        "worker": ["-l", "info", "-c1", "-n", "short@test", "-Q", "default"],
        "beat": ["-l", "debug", "-s", str(stack.directory / "schedule"), "--pidfile="],
    }
    part = stack.start_part(name, [*form, *options[name]], None)
    # Beat sleeps then: Celery's handler of a signal that comes in its first round may be lost.
    part.await_line({"worker": "short@test ready.", "beat": "beat: Waking up in"}[name])
    return part


@pytest.mark.parametrize("name", ["serve", "worker", "beat"])
def test_sigterm_ends_it_as_the_long_form(stack: Stack, name: str) -> None:
    codes = [started(stack, name, form).stop(STOP_SECONDS) for form in (["app", name], LONG[name])]
    assert codes[0] is not None
    assert codes[0] == codes[1]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["worker", "--help"], 0, "--concurrency"),
        (["beat", "--help"], 0, "--schedule"),
        (["worker", "--no-such-option"], 2, "No such option '--no-such-option'"),
        (["serve", "--no-such-option"], 2, "No such option"),
        (["serve", "--workers", "0"], 2, "--workers"),
    ],
)
def test_options_are_those_of_the_program(arguments: list[str], code: int, says: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        cwd=ROOT, env=process_environment({}), check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (ended.returncode, says in ended.stdout + ended.stderr) == (code, True), ended.stderr
