"""Database servers that the processes of a parallel run share.

The process that leads the run starts them while its workers collect; the fixture `services` of a worker waits for them.
A plugin that `tests/conftest.py` names. Each worker has a Valkey of its own: it starts in 0.1 s, and what it publishes
reaches all its numbered databases.
"""

import os
import secrets
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from app.launcher.postgres import EmbeddedPostgres
from tests.support import reaper
from tests.support.databases import ENGINE, database_server
from tests.support.services import SMALL, make_template, new_directory
from tests.support.waiting import wait_for

VARIABLE = "TEST_SERVERS"
READY, FAILED = "ready", "failed"
UNIT = Path(__file__).parents[1] / "unit"
START_SECONDS = 90.0
# MariaDB and MySQL tell who waits for a lock for all their databases together (`tests/support/lock_waits.py`): of several
# processes each has a server of its own.
SHARED = ("postgresql", "sqlite")
MOST_CONNECTIONS = "600"  # of all workers' stacks together


def shared_server() -> Path | None:
    """The directory of this engine's server, which is ready; None where this process has to start its own."""
    directory = Path(os.environ.get(VARIABLE, "/nonexistent")) / ENGINE
    if not directory.exists():
        return None

    def settled() -> bool:
        return (directory / READY).exists() or (directory / FAILED).exists()

    wait_for(settled, START_SECONDS, f"the {ENGINE} server of this run")
    failed = directory / FAILED
    assert not failed.exists(), failed.read_text(encoding="utf-8")
    return directory


class SharedServers:
    """`start(engines)`, then `stop()`; a killed run leaves none, by its reaper."""

    def __init__(self) -> None:
        self.directory = new_directory()
        self.mark = secrets.token_hex(8)
        self._servers: list[Any] = []
        self._threads: list[threading.Thread] = []

    def start(self, engines: Sequence[str]) -> None:
        self._reaper: subprocess.Popen[bytes] = reaper.start(self.mark, self.directory)
        os.environ[reaper.VARIABLE] = self.mark
        os.environ[VARIABLE] = str(self.directory)
        for engine in engines:
            (self.directory / engine).mkdir()
            self._threads.append(threading.Thread(target=self._start, args=(engine,), name=f"start of {engine}"))
            self._threads[-1].start()

    def _start(self, engine: str) -> None:
        directory = self.directory / engine
        try:
            if engine == "postgresql":
                settings = {**SMALL, "max_connections": MOST_CONNECTIONS}
                server: Any = EmbeddedPostgres(directory, durable=False, settings=settings)
            else:
                server = database_server(engine, directory, durable=False)
            self._servers.append(server)
            server.start()
            make_template(server)
        except Exception as error:  # noqa: BLE001 - each test that needs the server fails with it
            (directory / FAILED).write_text(f"the {engine} server of this run did not start: {error}", encoding="utf-8")
        else:
            (directory / READY).touch()

    def stop(self) -> None:
        for thread in self._threads:
            thread.join()
        for server in self._servers:
            server.stop(grace=5)
        for variable in (VARIABLE, reaper.VARIABLE):
            del os.environ[variable]
        reaper.dismiss(self.mark, self._reaper)
        shutil.rmtree(self.directory, ignore_errors=True)


def engine_of(spec: Any) -> str:
    """The engine that a worker process of this execnet specification serves."""
    return str(getattr(spec, "env", {}).get("TEST_DATABASE", ENGINE))


_SERVERS = pytest.StashKey[SharedServers]()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: Sequence[Any]) -> None:
    if all(UNIT in (path := Path(arg.split("::")[0]).resolve()).parents or path == UNIT for arg in config.args):
        return  # these need no server
    config.stash[_SERVERS] = SharedServers()
    nodes = Counter(engine_of(spec) for spec in specs)
    config.stash[_SERVERS].start([engine for engine in nodes if engine in SHARED or nodes[engine] == 1])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """Outside of the wrappers in which the workers end."""
    try:
        yield
    finally:
        servers = session.config.stash.get(_SERVERS, None)
        if servers is not None:
            servers.stop()
