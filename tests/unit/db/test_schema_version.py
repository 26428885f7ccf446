"""Where the migrations end, without Alembic."""

import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, StaticPool, create_engine, text

from app.core.config import Settings
from app.db import compatibility
from app.db.compatibility import REMEDY, REPEAT_SECONDS, SchemaPreparation
from tests.support.sources import APP

STRICT: dict[str, Any] = {"secret_key": secrets.token_hex(32)}


def test_the_head_is_that_of_alembic() -> None:
    compatibility.read_revisions.cache_clear()
    assert compatibility.read_revisions()[0] == ScriptDirectory(str(APP / "migrations")).get_current_head()


def test_two_heads_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for revision, before in (("1", None), ("2a", "1"), ("2b", "1")):
        lines = f"revision: str = {revision!r}\ndown_revision: str | None = {before!r}\n"
        (tmp_path / f"{revision}.py").write_text(lines, encoding="utf-8")
    monkeypatch.setattr(compatibility, "_MIGRATIONS", tmp_path)
    compatibility.read_revisions.cache_clear()
    with pytest.raises(ValueError, match="too many values"):
        compatibility.read_revisions()


class TestStates:
    """On SQLite: the comparison is portable."""

    @pytest.fixture
    def database(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
        for revision, before in (("1", None), ("2", "1")):
            lines = f"revision: str = {revision!r}\ndown_revision: str | None = {before!r}\n"
            (tmp_path / f"{revision}.py").write_text(lines, encoding="utf-8")
        monkeypatch.setattr(compatibility, "_MIGRATIONS", tmp_path)
        compatibility.read_revisions.cache_clear()
        made = create_engine("sqlite://", poolclass=StaticPool)
        monkeypatch.setattr(compatibility, "engine", lambda: made)
        yield made
        made.dispose()
        compatibility.read_revisions.cache_clear()

    @pytest.mark.parametrize(
        ("version", "says", "works"),
        [
            ("2", None, True),
            ("1", f"the database is at migration 1, the code needs 2: {REMEDY}", False),
            ("3", "the database is at migration 3, which this code does not know: deploy the newer code", True),
            (None, f"the database is not migrated: {REMEDY}", False),
            ("0039", "the database is at migration 0039: migrate it with the code of commit 0715a69 first", False),
        ],
    )
    def test_is_told_and_what_the_code_cannot_work_on_is_refused(
        self, database: Engine, version: str | None, says: str | None, works: bool
    ) -> None:
        with database.begin() as connection:
            connection.execute(text("CREATE TABLE alembic_version (version_num text)"))
            if version is not None:
                connection.execute(text("INSERT INTO alembic_version VALUES (:version)"), {"version": version})
        refusal = None if works else says
        assert compatibility.schema_fault() == SchemaPreparation(Settings()).fault() == refusal
        assert compatibility.newer_schema() == (says if works else None)

    def test_a_creation_that_failed_is_tried_again_once_a_minute(
        self, database: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each try is a process of Python's, in every part and each of their processes."""
        tries: list[list[str]] = []
        now = 1000.0

        def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
            tries.append(command)
            return subprocess.CompletedProcess(command, 1, "", "a line\nmigrate: permission denied\n")

        monkeypatch.setattr(subprocess, "run", run)
        monkeypatch.setattr(time, "monotonic", lambda: now)
        preparation = SchemaPreparation(Settings())
        for now, tried in ((1000.0, 1), (1002.0, 1), (1000.0 + REPEAT_SECONDS - 1, 1), (1000.0 + REPEAT_SECONDS, 2)):  # noqa: B007 (the clock reads it)
            assert preparation.fault() == "the database cannot be migrated: migrate: permission denied"
            assert len(tries) == tried
        assert (
            SchemaPreparation(Settings(app_env="production", **STRICT)).fault()
            == f"the database is not migrated: {REMEDY}"
        )
        assert len(tries) == 2
