"""Inserting rows of which some may be there: the one statement that MySQL spells differently."""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, FromClause, Insert
from sqlalchemy.sql import visitors

from app.core.engines import MYSQL, POSTGRESQL
from app.db.statements.executing import Transaction

Columns = Any
Set = Callable[[Columns, Columns], dict[str, ColumnElement[Any]]]


def upsert(db: Transaction, table: FromClause, rows: Sequence[dict[str, Any]], set_: Set | None = None) -> None:
    """Insert these rows. Where a row with its primary key is there, it takes `set_(its columns, the new ones)`.

    Without `set_` it stays as it is. A value that reads another column must come before that column's own in `set_`
    (see `assigning.py`). The rows should come in the same order in all callers, so that two at once do not
    deadlock.
    """
    if not rows:
        return
    engine = engine_name(db)
    if engine == POSTGRESQL and len(rows) > 1:
        # With RETURNING: else SQLAlchemy sends a statement for each row.
        db.execute(upsert_statement(engine, table, set_).returning(next(iter(table.primary_key))), rows)
    elif engine != MYSQL or len(rows) == 1 or not _has_parameters(table, set_):
        db.execute(upsert_statement(engine, table, set_), rows)
    else:
        # PyMySQL's `executemany` takes no parameter behind the VALUES. For many rows this is slower: a new statement.
        db.execute(_on_duplicate_key(_insert_of(MYSQL, table).values(rows), table, set_))


def upsert_statement(engine: str, table: FromClause, set_: Set | None = None) -> Insert:
    """The statement of `upsert` for any number of rows, to be built once. `set_` has no parameters."""
    inserted = _insert_of(engine, table)
    if engine == MYSQL:
        return _on_duplicate_key(inserted, table, set_)
    statement: Insert = inserted.on_conflict_do_nothing()
    if set_ is not None:
        new = set_(table.c, inserted.excluded)
        statement = inserted.on_conflict_do_update(index_elements=list(table.primary_key), set_=new)
    return statement


def _insert_of(engine: str, table: FromClause) -> Any:
    """The INSERT of this dialect. The others are not imported: each takes a megabyte or two."""
    return import_module(f"sqlalchemy.dialects.{engine}").insert(table)


def _has_parameters(table: FromClause, set_: Set | None) -> bool:
    new = {} if set_ is None else set_(table.c, _insert_of(MYSQL, table).inserted)
    return any(isinstance(part, BindParameter) for value in new.values() for part in visitors.iterate(value))


def _on_duplicate_key(added: Any, table: FromClause, set_: Set | None) -> Insert:
    first = next(iter(table.primary_key))
    changes = {first.name: first} if set_ is None else set_(table.c, added.inserted)
    # A list keeps this order: MySQL sees what it has assigned before.
    statement: Insert = added.on_duplicate_key_update([*changes.items()])
    return statement


def engine_name(db: Transaction) -> str:
    """POSTGRESQL, MYSQL or SQLITE of `app/core/engines.py`."""
    bind: Any = db.get_bind() if hasattr(db, "get_bind") else db
    return str(bind.dialect.name)
