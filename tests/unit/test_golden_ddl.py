"""The DDL of the models on PostgreSQL is what `golden/` says: tables, indexes, and the triggers that go with them.

`tests/integration/test_migrations.py` holds the migrations against the models.
"""

import itertools
import re
from typing import Any

import pytest
from sqlalchemy import create_mock_engine

from app import models
from app.db.base import Base
from tests.support.golden_sql import DDL_FOLDER, WRITES, compare, file_text


def sent(act: str) -> list[str]:
    """What `create` or `drop` of each table sends, in the order of their names: that of the models is no promise.

    The indexes of a table are a set, so they are sorted, too.
    """
    found: list[str] = []

    def note(statement: Any, *_: Any) -> None:
        lines = str(statement.compile(dialect=engine.dialect)).strip().splitlines()
        found.append("\n".join(line.rstrip().expandtabs(4) for line in lines))

    engine = create_mock_engine("postgresql+psycopg2://", note)
    for name in sorted(Base.metadata.tables):
        getattr(Base.metadata.tables[name], act)(engine, checkfirst=False)
    of_kinds = itertools.groupby(found, lambda statement: bool(re.match("CREATE (UNIQUE )?INDEX", statement)))
    return [each for are_indexes, kind in of_kinds for each in (sorted(kind) if are_indexes else kind)]


def files() -> dict[str, str]:
    return {f"{act}.sql": file_text(sent(act)) for act in ("create", "drop")}


def test_the_ddl_is_what_the_files_say() -> None:
    assert models.Task.__tablename__ in Base.metadata.tables
    compare(DDL_FOLDER, files())


def test_a_changed_statement_fails_with_a_diff_and_the_command_that_writes_the_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(WRITES, raising=False)
    changed = {name: text.replace("CREATE TABLE periods", "CREATE TABLE spans") for name, text in files().items()}
    with pytest.raises(pytest.fail.Exception) as caught:
        compare(DDL_FOLDER, changed)
    told = str(caught.value)
    assert "-CREATE TABLE periods (\n+CREATE TABLE spans (" in told
    assert "python -m tests.support.golden_sql --write" in told
