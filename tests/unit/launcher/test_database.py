"""Which database a run has: by DATABASE_URL, by `--database`, and by what is in the data directory."""

import sqlite3
import stat
from pathlib import Path

import pytest
from sqlalchemy import make_url

from app.launcher.errors import LauncherError
from app.launcher.options import chosen_engine, make_sqlite_file, parser, sqlite_file, sqlite_url

MYSQL = "mysql://user:hidden@db.example/tasks"


def holds(directory: Path, *engines: str) -> Path:
    """As after an earlier start with `--database` of each."""
    if "postgresql" in engines:
        (directory / "postgres" / "data").mkdir(parents=True)
    if "sqlite" in engines:
        make_sqlite_file(directory)
    return directory


class TestItsOwn:
    def test_is_postgresql_unless_asked_otherwise(self, tmp_path: Path) -> None:
        assert parser().parse_args([]).database is None
        assert chosen_engine(None, None, tmp_path) == "postgresql"
        assert chosen_engine(None, parser().parse_args(["--database", "sqlite"]).database, tmp_path) == "sqlite"

    @pytest.mark.parametrize("engine", ["postgresql", "sqlite"])
    def test_is_taken_again_by_the_next_start(self, tmp_path: Path, engine: str) -> None:
        assert chosen_engine(None, engine, holds(tmp_path, engine)) == engine

    @pytest.mark.parametrize(
        ("made", "asked", "advice"),
        [
            ("sqlite", None, "SQLite in {}: start with --database sqlite, or"),
            ("sqlite", "postgresql", "SQLite in {}: start with --database sqlite, or"),
            ("postgresql", "sqlite", "PostgreSQL in {}: start with --database postgresql, or"),
        ],
    )
    def test_is_not_begun_beside_that_of_another_engine(
        self, tmp_path: Path, made: str, asked: str | None, advice: str
    ) -> None:
        """Its users and tasks would seem to be gone."""
        with pytest.raises(LauncherError) as refused:
            chosen_engine(None, asked, holds(tmp_path, made))
        assert advice.format(tmp_path) in str(refused.value)
        assert "\n" not in str(refused.value)

    def test_where_there_are_both_it_is_the_one_that_is_asked_for(self, tmp_path: Path) -> None:
        both = holds(tmp_path, "postgresql", "sqlite")
        assert [chosen_engine(None, asked, both) for asked in (None, "sqlite")] == ["postgresql", "sqlite"]

    def test_of_a_sqlite_that_is_too_old_is_refused_before_there_is_a_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With a file, the next start would not begin a database of PostgreSQL."""
        monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 40, 1))
        with pytest.raises(LauncherError, match="or newer is needed"):
            chosen_engine(None, "sqlite", tmp_path)
        assert chosen_engine(None, None, tmp_path) == "postgresql"


class TestThatOfDatabaseUrl:
    @pytest.mark.parametrize(
        ("url", "engine"), [("postgresql://h/d", "postgresql"), (MYSQL, "mysql"), ("sqlite:////a/b.db", "sqlite")]
    )
    def test_is_used_whatever_the_data_directory_holds(self, tmp_path: Path, url: str, engine: str) -> None:
        assert chosen_engine(url, None, holds(tmp_path, "postgresql")) == engine

    @pytest.mark.parametrize(
        ("url", "asked", "named"),
        [
            (MYSQL, "sqlite", "MySQL or MariaDB"),
            (MYSQL, "postgresql", "MySQL or MariaDB"),
            ("postgresql://user:hidden@h/d", "sqlite", "PostgreSQL"),
            ("sqlite:////a/hidden.db", "postgresql", "SQLite"),
        ],
    )
    def test_may_not_contradict_the_option(self, tmp_path: Path, url: str, asked: str, named: str) -> None:
        with pytest.raises(LauncherError) as refused:
            chosen_engine(url, asked, tmp_path)
        assert str(refused.value) == (
            f"--database {asked} contradicts DATABASE_URL (environment or .env), which names a database of {named}: "
            "leave one of them out"
        )

    def test_may_name_what_the_option_asks_for(self, tmp_path: Path) -> None:
        assert chosen_engine("postgres://h/d", "postgresql", tmp_path) == "postgresql"

    @pytest.mark.parametrize(
        ("url", "told"),
        [("oracle://user:hidden@h/d", "no other database"), ("sqlite:///hidden.db", "by its absolute path")],
    )
    def test_is_refused_in_a_line_if_the_service_cannot_use_it(self, tmp_path: Path, url: str, told: str) -> None:
        with pytest.raises(LauncherError, match=told) as refused:
            chosen_engine(url, None, tmp_path)
        assert "hidden" not in str(refused.value)

    def test_says_what_to_install_without_the_driver(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("app.core.engines.find_spec", lambda _: None)
        with pytest.raises(LauncherError, match=r"pip install 'task-service\[mysql\]'"):
            chosen_engine(MYSQL, None, tmp_path)


class TestTheFileOfSQLite:
    def test_is_private_from_the_first_start_on_and_keeps_what_is_in_it(self, tmp_path: Path) -> None:
        for text in (b"", b"rows"):
            make_sqlite_file(tmp_path)
            file = sqlite_file(tmp_path)
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            assert file.read_bytes() == text
            file.write_bytes(b"rows")
            file.chmod(0o644)  # as a copy may be

    @pytest.mark.parametrize("name", ["data", "my data", "50%20?#"])
    def test_is_what_its_url_names(self, tmp_path: Path, name: str) -> None:
        url = sqlite_url(tmp_path / name)
        assert url.startswith("sqlite:////")
        assert make_url(url).database == str(tmp_path / name / "tasks.db")
