"""A database that cannot be migrated is told in one line, by both commands; a new file of SQLite is its owner's alone."""

import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.services import ROOT, process_environment

ALEMBIC, APP = ["-m", "alembic", "upgrade", "head"], ["-m", "app", "migrate"]
WRONG = {
    "sqlite:////nowhere/at/all/tasks.db": "/nowhere/at/all/tasks.db: No such file or directory",
    "sqlite:////tmp": "/tmp is a folder, and no file",
    "postgresql://u:hidden-password@127.0.0.1:1/d": "Connection refused",
    "postgresql://u:hidden-password@127.0.0.1:5432/d?no_such_option=1": "no_such_option",
    "postgresql://u:hidden-password@127.0.0.1:port/d": "configuration: DATABASE_URL: must be a URL",
}


def migrate(command: list[str], url: str) -> subprocess.CompletedProcess[str]:
    environment = process_environment({"DATABASE_URL": url})
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(("url", "told"), WRONG.items(), ids=[url.partition("@")[2] or url for url in WRONG])
@pytest.mark.parametrize("command", [ALEMBIC, APP], ids=["alembic", "app"])
def test_a_wrong_database_is_a_line(command: list[str], url: str, told: str) -> None:
    done = migrate(command, url)
    assert done.returncode != 0
    said = (done.stderr + done.stdout).strip()
    assert told in said
    assert len(said.splitlines()) == 1, said
    assert "hidden-password" not in said


@pytest.mark.parametrize("command", [ALEMBIC, APP], ids=["alembic", "app"])
def test_the_file_of_sqlite_is_readable_by_its_owner_alone(command: list[str], tmp_path: Path) -> None:
    done = migrate(command, f"sqlite:///{tmp_path / 'tasks.db'}")
    assert done.returncode == 0, done.stderr
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


@pytest.mark.parametrize("command", [ALEMBIC, APP], ids=["alembic", "app"])
def test_a_migration_that_the_database_refuses_says_why_once(command: list[str], tmp_path: Path) -> None:
    path = tmp_path / "tasks.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE tasks (other)")
    done = migrate(command, f"sqlite:///{path}")
    assert done.returncode != 0
    refused = [line for line in (done.stderr + done.stdout).splitlines() if "already exists" in line]
    assert [line.partition(": ")[2] for line in refused] == [
        "the database refused a migration: table tasks already exists"
    ]
