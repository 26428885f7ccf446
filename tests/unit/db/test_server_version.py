"""A server that is too old is refused at the start of each part and by migrations, in one line with both versions."""

import logging
import subprocess
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine

from app.core.config import Settings
from app.db import compatibility
from app.db.compatibility import SchemaPreparation, schema_fault, version_fault


class Server:
    """A connection to a server of this version, as its dialect has read it when the process connected first."""

    def __init__(
        self, name: str, version: tuple[int, ...] | None, *,
        now: tuple[int, ...] | None = None, options: Sequence[tuple[str, str]] = (), log: tuple[int, str] = (1, "ROW"),
    ) -> None:  # fmt: skip
        self.log = log
        self.options = options
        is_mariadb = name == "mariadb"
        self.now = now or version
        self.dialect: Any = SimpleNamespace(
            name="mysql" if is_mariadb else name,
            is_mariadb=is_mariadb,
            server_version_info=version,
            initialize=self.read,
        )

    def exec_driver_sql(self, statement: str) -> Any:
        """SHOW VARIABLES LIKE 'name', or whether the binary log is written, and how."""
        if "log_bin" in statement:
            return SimpleNamespace(one=lambda: self.log)
        found = [option for option in self.options if statement.endswith(f" LIKE '{option[0]}'")]
        return SimpleNamespace(one_or_none=lambda: next(iter(found), None))

    def read(self, _connection: object) -> None:
        self.dialect.server_version_info = self.now


# Of SQLite it is the settings that refuse an old one.
FAULTS = {
    ("postgresql", (16, 9)): "PostgreSQL 17 or newer is needed, not 16.9",
    ("postgresql", None): "PostgreSQL 17 or newer is needed, not an unknown version",
    ("postgresql", (17, 0)): None,
    ("postgresql", (18, 6)): None,
    ("mysql", (8, 0, 18)): "MySQL 8.0.19 or newer is needed, not 8.0.18",
    ("mysql", (5, 7, 44)): "MySQL 8.0.19 or newer is needed, not 5.7.44",
    ("mysql", (8, 0, 19)): None,
    ("mysql", (9, 4, 0)): None,
    ("mariadb", (10, 5, 29)): "MariaDB 10.6 or newer is needed, not 10.5.29",
    ("mariadb", (10, 6, 0)): None,
    ("mariadb", (11, 8, 3)): None,
    ("sqlite", (3, 30, 0)): None,
}


def fault_of(name: str, version: tuple[int, ...] | None, **more: Any) -> str | None:
    connection: Any = Server(name, version, **more)
    return version_fault(connection)


def test_an_old_server_is_told_with_both_versions_and_a_newer_one_is_none() -> None:
    assert {server: fault_of(*server) for server in FAULTS} == FAULTS


def test_a_process_that_waits_notices_an_upgrade() -> None:
    connection: Any = Server("mariadb", (10, 5, 29), now=(11, 8, 3))
    assert version_fault(connection) is None


OFF, ON = (("innodb_native_foreign_keys", "OFF"),), (("innodb_native_foreign_keys", "ON"),)


def test_a_mysql_that_does_not_leave_foreign_keys_to_innodb_is_told_how() -> None:
    for version in ((9, 6, 0), (9, 7, 4)):
        fault = fault_of("mysql", version, options=OFF) or ""
        assert f"MySQL {'.'.join(map(str, version))} does not check every foreign key" in fault
        assert "--innodb-native-foreign-keys=ON" in fault
    others = [
        ("mysql", (9, 5, 0), OFF),
        ("mysql", (9, 6, 0), ON),
        ("mysql", (9, 9, 0), ()),
        ("mariadb", (12, 0, 0), OFF),
    ]
    assert [other for other in others if fault_of(*other[:2], options=other[2])] == []


def test_a_binary_log_of_statements_is_refused_where_it_is_written() -> None:
    for name, version in (("mysql", (8, 4, 0)), ("mariadb", (11, 8, 3))):
        assert "binlog_format=STATEMENT" in (fault_of(name, version, log=(1, "STATEMENT")) or "")
        assert [fault_of(name, version, log=log) for log in ((0, "STATEMENT"), (1, "MIXED"))] == [None, None]


class TestAtTheStart:
    @pytest.fixture
    def old(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
        """An empty database, on a server that is too old."""
        engine = create_engine("sqlite://")
        monkeypatch.setattr(compatibility, "engine", lambda: engine)
        monkeypatch.setattr(compatibility, "version_fault", lambda _: "X 2 or newer is needed, not 1")
        yield engine
        engine.dispose()

    @pytest.mark.usefixtures("old")
    def test_it_is_told_and_no_schema_is_created(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        monkeypatch.setattr(subprocess, "run", pytest.fail)
        assert schema_fault() == SchemaPreparation(Settings()).fault() == "X 2 or newer is needed, not 1"
        assert not caplog.records
