"""`python -m tests.support.baselines --write` writes the schema of each engine from the models (`app/migrations/baselines/`).

Until a later revision is there: from then on they do not change.
"""

import argparse
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import create_mock_engine

import app.models  # noqa: F401 (fills the metadata)
from app.ddl.columns import Base
from app.migrations import baselines

URLS = {"postgresql": "postgresql+psycopg2://", "mysql": "mysql+pymysql://", "sqlite": "sqlite://"}
COMMAND = "python -m tests.support.baselines --write"
FOLDER = Path(baselines.__file__).parent


def schema_of(engine: str) -> str:
    """All statements that create the models' tables, indexes, functions and triggers on this engine."""
    statements: list[str] = []

    def note(statement: Any, *_: Any, **__: Any) -> None:
        text = str(statement.compile(dialect=mock.dialect)).strip().replace("%%", "%")  # for drivers that format with %
        statements.append("\n".join(line.rstrip() for line in text.splitlines()))

    mock = create_mock_engine(URLS[engine], note)
    Base.metadata.create_all(mock, checkfirst=False)
    return baselines.SEPARATOR.join(_ordered(statements)) + "\n"


def _ordered(statements: list[str]) -> Iterator[str]:
    """The indexes of a table by their names: SQLAlchemy keeps them in a set."""
    for are_indexes, some in itertools.groupby(statements, _is_index):
        found = list(some)
        yield from sorted(found, key=lambda each: each.replace("UNIQUE ", "")) if are_indexes else found


def _is_index(statement: str) -> bool:
    return statement.startswith(("CREATE INDEX", "CREATE UNIQUE INDEX"))


def is_frozen() -> bool:
    """Whether a later revision is there."""
    return len(list((FOLDER.parent / "versions").glob("*.py"))) > 1


def main() -> int:
    parser = argparse.ArgumentParser(prog=COMMAND.rpartition(" ")[0], description=__doc__)
    parser.add_argument("--write", action="store_true", required=True, help="write all files anew")
    parser.parse_args()
    if is_frozen():
        print("a later revision is there: write another one", file=sys.stderr)  # noqa: T201
        return 1
    for engine in URLS:
        (FOLDER / f"{engine}.sql").write_text(schema_of(engine), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
