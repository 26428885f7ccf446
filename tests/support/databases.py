"""The engine on which this test session runs: PostgreSQL, or what TEST_DATABASE names (`mariadb`, `mysql`, `sqlite`).

Each has the part of `EmbeddedPostgres` that tests on every engine need: `start`, `stop`, `kill`, `poll`, `url_for`,
`new_database`, `drop_database`.
"""

import os
import shutil
import signal
import sqlite3
import subprocess
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pymysql

from app.launcher.ports import LOOPBACK, free_loopback_port
from app.launcher.processes import ManagedProcess
from tests.support.waiting import wait_for

ENGINE = os.environ.get("TEST_DATABASE", "postgresql")
# Reads for minutes, unless it is stopped.
SLOW = {
    "postgresql": "SELECT count(*) FROM generate_series(1, 100000) AS a, generate_series(1, 100000) AS b",
    "mariadb": "SELECT count(*) FROM seq_1_to_100000 AS a, seq_1_to_100000 AS b WHERE a.seq + b.seq = 7",
    "mysql": f"SELECT count(*) FROM {', '.join(f'information_schema.collations AS {each}' for each in 'abcd')}",
    "sqlite": """WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 1000000000)
        SELECT count(*) FROM numbers""",
}
# The statements of both are the same.
DIALECT = "mysql" if ENGINE == "mariadb" else ENGINE
START_SECONDS = 60.0
# As roomy as the embedded PostgreSQL of the tests; a commit reaches the kernel, so that a kill loses nothing.
_NOT_DURABLE = ("--innodb-flush-log-at-trx-commit=2", "--innodb-doublewrite=0")


class MariaDB:
    """Debian's `mariadb-server`, with all its data in one directory."""

    server, dump, missing = "mariadbd", "mariadb-dump", "apt-get install mariadb-server"
    options: tuple[str, ...] = ("--innodb-log-file-size=64M", "--skip-ssl")
    dump_options: tuple[str, ...] = ()

    def __init__(self, directory: Path, *, durable: bool = False) -> None:
        self.directory, self._durable = directory, durable
        self.port = free_loopback_port()
        self._process: ManagedProcess | None = None

    def start(self) -> None:
        absent = self.why_absent()
        assert not absent, absent
        (self.directory / "tmp").mkdir(parents=True, exist_ok=True)
        if not (self.directory / "data").exists():
            self._run(self._install())
        more = () if self._durable else _NOT_DURABLE
        # A socket's path may not exceed 107 bytes. No TLS, as the embedded PostgreSQL; and a proxy looks for statements and
        # replies.
        self._process = ManagedProcess(
            [self._program(self.server), *self._places(), f"--bind-address={LOOPBACK}", f"--port={self.port}",
             f"--socket={self.directory / 's'}", "--skip-name-resolve", "--max-connections=400",
             "--innodb-buffer-pool-size=256M", "--character-set-server=utf8mb4", "--collation-server=utf8mb4_bin",
             "--transaction-isolation=READ-COMMITTED", "--performance-schema=OFF", *self.options, *more],
            log=self.directory / "server.log",
        )  # fmt: skip
        self._process.start()
        wait_for(self._answers, START_SECONDS, f"{self.server} to answer")
        (self.directory / "port").write_text(str(self.port), encoding="ascii")

    def attach(self) -> None:
        """Use the server that another process has started in this directory."""
        self.port = int((self.directory / "port").read_text(encoding="ascii"))

    def _places(self) -> list[str]:
        """What each of its programs is told first. A server that starts empties its `tmpdir`: /tmp is others' as well."""
        places = (f"--{name}dir={self.directory / name}" for name in ("data", "tmp"))
        return ["--no-defaults", *places, "--user=root"]

    def _install(self) -> list[str]:
        """The command that makes the data directory; root needs no password."""
        return [
            *(self._program("mariadb-install-db"), *self._places()),
            *("--skip-test-db", "--auth-root-authentication-method=normal", "--skip-name-resolve"),
        ]

    @staticmethod
    def _run(command: list[str]) -> str:
        """What it writes to its standard output."""
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=START_SECONDS)
        assert done.returncode == 0, f"{command[0]} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout

    @classmethod
    def why_absent(cls) -> str:
        """Why none can be started here; "" where one can."""
        return "" if _path(cls.server) else f"there is no {cls.server}: {cls.missing}"

    @classmethod
    def _program(cls, name: str) -> str:
        found = _path(name)
        assert found, f"there is no {name}: {cls.missing}"
        return found

    def _answers(self) -> bool:
        assert self.process.running, "\n".join(self.process.tail())
        with suppress(pymysql.err.OperationalError):
            self.sql("SELECT 1")
            return True
        return False

    def stop(self, grace: float = 10) -> None:
        if self._process is not None:
            self._process.stop(signal.SIGTERM, grace)

    def kill(self) -> None:
        """SIGKILL: what was committed is there after `start`."""
        self.process.kill()

    @property
    def process(self) -> ManagedProcess:
        assert self._process is not None
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    def sql(self, statement: str, database: str | None = None) -> list[tuple[Any, ...]]:
        connection = pymysql.connect(
            host=LOOPBACK, port=self.port, user="root", database=database, autocommit=True,
            client_flag=pymysql.constants.CLIENT.MULTI_STATEMENTS,
        )  # fmt: skip
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            rows = list(cursor.fetchall())
            while cursor.nextset():
                pass
            return rows

    def url_for(self, database: str) -> str:
        return f"mysql+pymysql://root@{LOOPBACK}:{self.port}/{database}"

    def new_database(self, name: str, template: str | None) -> None:
        """With `template`, the tables and triggers of that database, which has no rows but the version of its schema."""
        self.sql(f"CREATE DATABASE {name}")
        if template is not None:
            self.sql(self._schema_of(template), name)

    def _schema_of(self, template: str) -> str:
        path = self.directory / f"{template}.sql"
        if not path.exists():
            dump = self._run(
                [self._program(self.dump), "--no-defaults", f"--host={LOOPBACK}", f"--port={self.port}", "--user=root",
                 "--skip-comments", "--skip-add-locks", "--skip-disable-keys", "--skip-add-drop-table",
                 *self.dump_options, template]
            )  # fmt: skip
            # Another process may read it meanwhile.
            fresh = path.with_suffix(f".{os.getpid()}")
            fresh.write_text(_without_delimiters(dump), encoding="utf-8")
            fresh.rename(path)
        return path.read_text(encoding="utf-8")

    def drop_database(self, name: str) -> None:
        self.sql(f"DROP DATABASE IF EXISTS {name}")


class MySQL(MariaDB):
    """MySQL of the PATH. Debian has no package of it: `.ci/mysql build/mysql` makes `build/mysql/bin`."""

    server, dump, missing = "mysqld", "mysqldump", "`.ci/mysql build/mysql`, and put build/mysql/bin in front of PATH"
    options = (
        "--loose-innodb-redo-log-capacity=128M",
        "--loose-innodb-native-foreign-keys=ON",
        "--tls-version=",
        "--mysqlx=OFF",
        "--skip-log-bin",
        "--secure-file-priv=NULL",
    )
    dump_options = ("--no-tablespaces", "--set-gtid-purged=OFF")

    @classmethod
    def why_absent(cls) -> str:
        """Also where these are other names of MariaDB's programs, as in Debian's package, or cannot be run."""
        for name in (cls.server, cls.dump):
            found = _path(name)
            told = subprocess.run([found, "--version"], capture_output=True, text=True, check=False) if found else None
            if told is None or told.returncode or "MariaDB" in told.stdout:
                return f"there is no {name} of MySQL: {cls.missing}"
        return ""

    def _install(self) -> list[str]:
        users = self.directory / "users.sql"
        # It makes root@localhost, which is no address.
        users.write_text("CREATE USER root@'%';\nGRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;\n", encoding="utf-8")
        return [
            *(self._program(self.server), *self._places(), "--initialize-insecure"),
            *(f"--init-file={users}", "--loose-innodb-redo-log-capacity=128M"),
        ]


def _path(name: str) -> str | None:
    """The path of a server's program, which may not be in an ordinary user's PATH."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def _without_delimiters(dump: str) -> str:
    """The client's DELIMITER lines are not SQL; the server takes a trigger's body as one statement."""
    lines, delimiter = [], ";"
    for line in dump.splitlines():
        if line.startswith("DELIMITER "):
            delimiter = line.split()[1]
        else:
            lines.append(line.replace(delimiter, ";") if delimiter != ";" else line)
    return "\n".join(lines)


class SQLiteFiles:
    """A file for each database."""

    port = 0

    def __init__(self, directory: Path, *, durable: bool = False) -> None:
        del durable
        self.directory = directory

    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)

    def attach(self) -> None:
        """The files of another process, in the same directory."""

    def stop(self, grace: float = 0) -> None:
        """There is no server."""

    def _path(self, name: str) -> Path:
        return self.directory / f"{name}.db"

    def url_for(self, database: str) -> str:
        return f"sqlite:///{self._path(database)}"

    def new_database(self, name: str, template: str | None) -> None:
        if template is not None:
            with closing(sqlite3.connect(self._path(template))) as last:  # what is in its log goes into the file
                last.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            shutil.copy(self._path(template), self._path(name))

    def drop_database(self, name: str) -> None:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self._path(name)}{suffix}").unlink(missing_ok=True)


def database_server(engine: str, directory: Path, *, durable: bool) -> "MariaDB | SQLiteFiles":
    """That of an engine which is not PostgreSQL."""
    kinds: dict[str, type[MariaDB | SQLiteFiles]] = {"mariadb": MariaDB, "mysql": MySQL, "sqlite": SQLiteFiles}
    return kinds[engine](directory, durable=durable)
