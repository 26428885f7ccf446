"""The fork server of a test session, by which its API, workers and beat are started: see `app/launcher/fork_server.py`.

Where a variable of a part's environment acts at an import (READ_AT_IMPORT), the part is started the usual way.
"""

import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest

from app.launcher.forks import ForkedProcess, ForkServer
from app.launcher.processes import ManagedProcess
from tests.support import reaper

ROOT = Path(__file__).resolve().parents[2]
# Variables that act while a process imports: on a clock, on functions that are replaced.
READ_AT_IMPORT = ("LD_PRELOAD", "FAILPOINTS")
ALLOWED = "TEST_FORKS_PARTS"


def process(argv: Sequence[str], *, log: Path, env: dict[str, str]) -> ManagedProcess:
    """A process, not started yet, that runs in the directory of its log; forked where it can be."""
    kind = partial(ForkedProcess, ForkServers.current()) if can_fork(argv, env) else ManagedProcess
    return kind(argv, log=log, env=env, cwd=log.parent)


def can_fork(argv: Sequence[str], env: Mapping[str, str]) -> bool:
    """Only in a session of pytest, and not where it measures: `tests/load` and `performance_test.py` start all anew."""
    if sys.platform != "linux":
        return False
    reads = any(env.get(name) for name in READ_AT_IMPORT) or env.get("PYTHONPATH") != str(ROOT)
    return os.environ.get(ALLOWED) == "1" and [*argv[:2]] == [sys.executable, "-m"] and not reads


@contextmanager
def nothing_forked() -> Iterator[None]:
    """For tests that measure time or memory of a process."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(ALLOWED, "0")
        yield


class ForkServers:
    """Those of this test process, one for each mark that its servers and parts carry in their environment."""

    _made: ClassVar[dict[str, ForkServer]] = {}
    _directories: ClassVar[dict[str, Path]] = {}
    _making = threading.Lock()

    @classmethod
    def begin(cls, mark: str, directory: Path) -> None:
        """Have the one of this mark, once a part needs it, write its log there."""
        cls._directories[mark] = directory

    @classmethod
    def current(cls) -> ForkServer:
        from tests.support.databases import DIALECT
        from tests.support.services import process_environment

        mark = os.environ[reaper.VARIABLE]
        with cls._making:
            if mark not in cls._made:
                directory = cls._directories[mark]
                env = process_environment({})
                cls._made[mark] = ForkServer(DIALECT, directory / "fork-server.log", env, directory)
                cls._made[mark].start()
            return cls._made[mark]

    @classmethod
    def end(cls, mark: str) -> None:
        """End it; what it has forked goes on."""
        fork_server = cls._made.pop(mark, None)
        if fork_server is not None:
            fork_server.stop()
