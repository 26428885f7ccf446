"""A synchronous standby of an embedded PostgreSQL, to fail over to."""

import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg2

from app.launcher.pgfiles import binary, environment
from app.launcher.ports import LOOPBACK, free_loopback_port
from app.launcher.postgres import EmbeddedPostgres
from app.launcher.processes import ManagedProcess
from tests.support.faults.engines import database_server_of
from tests.support.faults.proxy import TcpProxy
from tests.support.services import Services
from tests.support.waiting import wait_for

SECONDS = 60.0


class Standby:
    """A copy that follows `primary`; from its start on no COMMIT of the primary is answered before it is here too."""

    def __init__(self, primary: EmbeddedPostgres, directory: Path) -> None:
        self._primary = primary
        self._directory = directory
        self.port = free_loopback_port()
        self._process: ManagedProcess | None = None

    def __enter__(self) -> Self:
        self._directory.mkdir(parents=True, mode=0o700)
        self._copy()
        settings = [part for name, value in self._primary.settings.items() for part in ("-c", f"{name}={value}")]
        self._process = self._run("postgres", "-D", self._data, "-p", str(self.port), *settings)
        self._primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self._primary.sql("SELECT pg_reload_conf()")
        follows = "SELECT sync_state FROM pg_stat_replication"
        wait_for(lambda: self._primary.sql(follows) == "sync", SECONDS, "the standby to follow")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process is not None:
            self._process.stop(signal.SIGINT, 10)

    @property
    def _data(self) -> Path:
        return self._directory / "data"

    def _copy(self) -> None:
        """With standby.signal and the way to the primary written into it (-R)."""
        copying = self._run("pg_basebackup", "-d", self._primary.url, "-D", self._data, "-R", "-c", "fast", "--no-sync")
        assert copying.wait(SECONDS) == 0, copying.tail()

    def _run(self, program: str, *arguments: str | Path) -> ManagedProcess:
        """As the user of the primary, which has to own the files."""
        process = ManagedProcess(
            [binary(program), *arguments],
            log=self._directory / f"{program}.log", env=environment(), cwd=self._directory,
            identity=self._primary._identity, death_signal=signal.SIGINT,
        )  # fmt: skip
        process.start()
        return process

    def promote(self) -> None:
        """Make it a server that may be written to; returns when it is one."""
        url = self._primary.url.replace(f":{self._primary.port}/", f":{self.port}/")
        with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_promote(wait => true)")
            assert cursor.fetchone() == (True,)


class ThroughProxy:
    """Servers whose database server is reached through a proxy alone, by the service and by the test."""

    def __init__(self, services: Services, proxy: TcpProxy) -> None:
        self._services, self.proxy = services, proxy
        self.new_database, self.new_broker = services.new_database, services.new_broker

    def database_url(self, name: str) -> str:
        return self.proxy.through(self._services.database_url(name))

    def drop_database(self, name: str) -> None:
        """It goes with its server, which may be dead by then."""


@contextmanager
def through_proxy(services: Services) -> Iterator[ThroughProxy]:
    with TcpProxy(LOOPBACK, database_server_of(services).port) as proxy:
        yield ThroughProxy(services, proxy)
