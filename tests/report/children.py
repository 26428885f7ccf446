"""Child processes of a run: stopped with it, and given the time to clear up."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from app.launcher.files import locked_directory
from tests.report.model import ROOT

TRIES, CLEAR_UP_SECONDS = 3, 10


class Terminated(KeyboardInterrupt):
    """SIGTERM, which this process alone got."""


class AnotherRun(Exception):
    """There is one that writes the same reports."""


@contextmanager
def only_run(reports: Path) -> Iterator[None]:
    """Until its end no other run writes there. Raises AnotherRun."""

    def refuse() -> None:
        raise AnotherRun(f"another run writes {reports}: wait for its end, or use another checkout")

    reports.mkdir(parents=True, exist_ok=True)
    with locked_directory(reports, refuse):
        yield


def run_child(command: Sequence[str], env: Mapping[str, str] | None = None) -> int:
    """Its exit code. When this run is stopped, the child gets a Ctrl-C too and some seconds to end what it started.

    `subprocess.run` would kill it after a quarter of a second.
    """
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, **(env or {})}) as child:
        try:
            return child.wait()
        except KeyboardInterrupt as stop:
            _stop(child, has_heard=not isinstance(stop, Terminated))
            raise


def _stop(child: "subprocess.Popen[bytes]", *, has_heard: bool) -> None:
    for number in range(TRIES):  # an interrupt that is raised in a destructor is ignored by Python
        if number or not has_heard:  # a terminal's Ctrl-C went to the child as well
            child.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            child.wait(CLEAR_UP_SECONDS)
            return
    child.kill()  # the reaper of its services ends the rest


def stop_on_sigterm() -> None:
    """What CI sends, and `timeout`, and a terminal that is closed: the same orderly end as for Ctrl-C.

    A shell that starts a command in the background has it ignore SIGINT, and all that it starts.
    """

    def interrupt(number: int, frame: object) -> None:
        del number, frame
        raise Terminated

    signal.signal(signal.SIGTERM, interrupt)
    hangup = getattr(signal, "SIGHUP", signal.SIGTERM)  # which Windows does not have
    if signal.getsignal(hangup) is not signal.SIG_IGN:  # as nohup has it
        signal.signal(hangup, interrupt)
    signal.signal(signal.SIGINT, signal.default_int_handler)
