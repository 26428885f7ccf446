"""Where the migrations end, without Alembic."""

from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from app.db import schema_version
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
