"""`python -m tests.support.baselines` writes the schemas of MySQL and SQLite anew from the models.

Only before a release that has them: afterwards a change of the models is a migration.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import create_mock_engine

import app.models  # noqa: F401 (fills the metadata)
from app.db.base import Base
from app.migrations import baselines

URLS = {"mysql": "mysql+pymysql://", "sqlite": "sqlite://"}


def schema_of(engine: str) -> str:
    """All statements that create the models' tables, indexes and triggers on this engine."""
    statements: list[str] = []

    def note(statement: Any, *_: Any, **__: Any) -> None:
        text = str(statement.compile(dialect=mock.dialect)).strip().replace("%%", "%")  # MySQL's driver formats with %
        statements.append("\n".join(line.rstrip() for line in text.splitlines()))

    mock = create_mock_engine(URLS[engine], note)
    Base.metadata.create_all(mock, checkfirst=False)
    return baselines.SEPARATOR.join(_ordered(statements)) + "\n"


def _ordered(statements: list[str]) -> Iterator[str]:
    """The indexes of a table by their names: SQLAlchemy keeps them in a set."""
    indexes: list[str] = []
    for statement in [*statements, ""]:
        if statement.startswith(("CREATE INDEX", "CREATE UNIQUE INDEX")):
            indexes.append(statement)
            continue
        yield from sorted(indexes, key=lambda each: each.replace("UNIQUE ", ""))
        indexes.clear()
        if statement:
            yield statement


if __name__ == "__main__":
    from pathlib import Path

    for name in URLS:
        (Path(baselines.__file__).parent / f"{name}.sql").write_text(schema_of(name), encoding="utf-8")
