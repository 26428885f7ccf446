"""Flame graphs of the service under the load of a section, drawn by py-spy where it is installed.

In a pass of its own after the rounds: whatever watches a process slows it down.
"""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.loopback import CannotBegin
from tests.support.services import ROOT

PROGRAM = "py-spy"
RATE = "200"
WRITE_SECONDS = 60.0


def check() -> None:
    """Raises CannotBegin where there is no py-spy."""
    if shutil.which(PROGRAM) is None:
        raise CannotBegin("--flame needs py-spy on the PATH: pip install py-spy")


@contextmanager
def flame(path: Path, pid: int) -> Iterator[None]:
    """What the process and those below it are at meanwhile, as an SVG."""
    words = [
        PROGRAM,
        "record",
        "--subprocesses",
        "--nonblocking",
        "--rate",
        RATE,
        "--output",
        str(path),
        "--pid",
        str(pid),
    ]
    recording = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        yield
    finally:
        recording.send_signal(signal.SIGINT)
        try:
            _, said = recording.communicate(timeout=WRITE_SECONDS)
        except subprocess.TimeoutExpired:
            recording.kill()
            _, said = recording.communicate()
    if not path.exists():
        raise RuntimeError(f"py-spy drew nothing: {said.strip()[-300:]}")
    path.write_text(_without_places(path.read_text(encoding="utf-8")), encoding="utf-8")


def _without_places(text: str) -> str:
    """The picture is for others: where this machine keeps its Python and the project is nobody's business."""
    for place in (sys.prefix, sys.base_prefix, ROOT):
        text = text.replace(f"{place}/", "")
    return text
