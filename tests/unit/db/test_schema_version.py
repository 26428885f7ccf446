"""Where the migrations end, without Alembic."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, StaticPool, create_engine, text

from app.core.config import Settings
from app.db import schema_version
from app.db.schema_version import REMEDY
from tests.support.sources import APP


def test_the_head_is_that_of_alembic() -> None:
    schema_version._revisions.cache_clear()
    assert schema_version._revisions()[0] == ScriptDirectory(str(APP / "migrations")).get_current_head()


def test_two_heads_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for revision, before in (("1", None), ("2a", "1"), ("2b", "1")):
        lines = f"revision: str = {revision!r}\ndown_revision: str | None = {before!r}\n"
        (tmp_path / f"{revision}.py").write_text(lines, encoding="utf-8")
    monkeypatch.setattr(schema_version, "_MIGRATIONS", tmp_path)
    schema_version._revisions.cache_clear()
    with pytest.raises(ValueError, match="too many values"):
        schema_version._revisions()


class TestStates:
    """On SQLite: the comparison is portable."""

    @pytest.fixture
    def database(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
        for revision, before in (("1", None), ("2", "1")):
            lines = f"revision: str = {revision!r}\ndown_revision: str | None = {before!r}\n"
            (tmp_path / f"{revision}.py").write_text(lines, encoding="utf-8")
        monkeypatch.setattr(schema_version, "_MIGRATIONS", tmp_path)
        schema_version._revisions.cache_clear()
        made = create_engine("sqlite://", poolclass=StaticPool)
        monkeypatch.setattr(schema_version, "engine", lambda: made)
        yield made
        schema_version._revisions.cache_clear()

    @pytest.mark.parametrize(
        ("version", "says", "works"),
        [
            ("2", None, True),
            ("1", f"the database is at migration 1, the code needs 2: {REMEDY}", False),
            ("3", "the database is at migration 3, which this code does not know: deploy the newer code", True),
            (None, f"the database is not migrated: {REMEDY}", False),
        ],
    )
    def test_is_told_and_what_the_code_cannot_work_on_is_refused(
        self, database: Engine, version: str | None, says: str | None, works: bool
    ) -> None:
        with database.begin() as connection:
            connection.execute(text("CREATE TABLE alembic_version (version_num text)"))
            if version is not None:
                connection.execute(text("INSERT INTO alembic_version VALUES (:version)"), {"version": version})
        assert schema_version.schema_fault() == says
        assert schema_version.prepare_schema(Settings()) == (None if works else says)
