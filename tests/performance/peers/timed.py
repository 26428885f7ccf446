"""`timed.py MODULE fill COUNT` submits no-op tasks of a peer; `timed.py MODULE start COUNT FILE` times its starts.

A peer's module has `submit_noop()` or `fill(count)`, `submit_stamp(path)`, and `opened`, a context, if it needs one.
Nothing here imports the service: peers have an environment of their own.
"""

import sys
import time
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from types import ModuleType

LOOK_SECONDS = 0.0005
PAUSE_SECONDS = 0.02  # until the worker is idle again
LIMIT_SECONDS = 60.0


def note_time(path: str) -> None:
    """The body of a timed task: its moment, by the machine's clock, as a whole or not at all."""
    whole = Path(f"{path}.new")
    whole.write_text(repr(time.time()), encoding="utf-8")
    whole.replace(path)


def fill(peer: ModuleType, count: int) -> None:
    if hasattr(peer, "fill"):
        peer.fill(count)
        return
    for _ in range(count):
        peer.submit_noop()


def start(peer: ModuleType, count: int, path: Path) -> None:
    """Submit tasks one after the other to an idle worker, and write to the file how long each took to begin.

    These are the seconds from the call to the first line of the body, a line for each.
    """
    mark, found = path.with_suffix(".mark"), []
    peer.submit_stamp(str(mark))  # untimed: connections are made, modules imported
    _begun(mark)
    for _ in range(count):
        time.sleep(PAUSE_SECONDS)
        called = time.time()
        peer.submit_stamp(str(mark))
        found.append(_begun(mark) - called)
    path.write_text("".join(f"{seconds}\n" for seconds in found), encoding="utf-8")


def _begun(path: Path) -> float:
    until = time.monotonic() + LIMIT_SECONDS
    while not path.exists():
        if time.monotonic() > until:
            raise TimeoutError(f"no body has begun within {LIMIT_SECONDS:g} s")
        time.sleep(LOOK_SECONDS)
    begun = float(path.read_text(encoding="utf-8"))
    path.unlink()
    return begun


if __name__ == "__main__":
    module, command, number, *file = sys.argv[1:]
    peer = import_module(module)
    with getattr(peer, "opened", nullcontext)():
        if command == "fill":
            fill(peer, int(number))
        else:
            start(peer, int(number), Path(*file))
