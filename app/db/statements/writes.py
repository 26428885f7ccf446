"""How rows are written on every engine: inserted where they may be there already, changed in a safe order.

`upsert` is the one statement that MySQL spells differently. `assign` orders the assignments of an UPDATE.
`changed_rows` tells how many rows a statement has changed; `value_by` gives each of them a value of its own.
"""

from collections.abc import Callable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm.attributes import QueryableAttribute
from sqlalchemy.sql import ClauseElement, visitors

from app.core.engines import MYSQL, POSTGRESQL
from app.db.transactions import Transaction

Columns = Any
Assignments = Callable[[Columns, Columns], dict[str, sa.ColumnElement[Any]]]


def upsert(
    db: Transaction, table: sa.FromClause, rows: Sequence[dict[str, Any]], set_: Assignments | None = None
) -> None:
    """Insert these rows. Where a row with its primary key is there, it takes `set_(its columns, the new ones)`.

    Without `set_` it stays as it is. A value that reads another column must come before that column's own in `set_`
    (see `assign`). The rows should come in the same order in all callers, so that two at once do not
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


def upsert_statement(engine: str, table: sa.FromClause, set_: Assignments | None = None) -> sa.Insert:
    """Return the statement of `upsert` for any number of rows, to be built once. `set_` has no parameters."""
    inserted = _insert_of(engine, table)
    if engine == MYSQL:
        return _on_duplicate_key(inserted, table, set_)
    statement: sa.Insert = inserted.on_conflict_do_nothing()
    if set_ is not None:
        new = set_(table.c, inserted.excluded)
        statement = inserted.on_conflict_do_update(index_elements=list(table.primary_key), set_=new)
    return statement


def _insert_of(engine: str, table: sa.FromClause) -> Any:
    """Return the INSERT of this dialect. The others are not imported: each takes a megabyte or two."""
    return import_module(f"sqlalchemy.dialects.{engine}").insert(table)


def _has_parameters(table: sa.FromClause, set_: Assignments | None) -> bool:
    new = {} if set_ is None else set_(table.c, _insert_of(MYSQL, table).inserted)
    return any(isinstance(part, sa.BindParameter) for value in new.values() for part in visitors.iterate(value))


def _on_duplicate_key(added: Any, table: sa.FromClause, set_: Assignments | None) -> sa.Insert:
    first = next(iter(table.primary_key))
    changes = {first.name: first} if set_ is None else set_(table.c, added.inserted)
    # A list keeps this order: MySQL sees what it has assigned before.
    statement: sa.Insert = added.on_duplicate_key_update([*changes.items()])
    return statement


def engine_name(db: Transaction) -> str:
    """POSTGRESQL, MYSQL or SQLITE of `app/core/engines.py`."""
    bind: Any = db.get_bind() if hasattr(db, "get_bind") else db
    return str(bind.dialect.name)


# -- The order of assignments in an UPDATE -----------------------------------------------------------------------------
# SQL gives all expressions the values from before the statement. MySQL does so only as long as no column to the left of
# the expression has been assigned: `SET a = a + 1, b = a` sets b to the new a.


def assign(statement: sa.Update, values: Mapping[str, Any]) -> sa.Update:
    """Return `statement` with these values by column name, each assigned before the columns that its expression reads.

    Raises ValueError for columns that read each other.
    """
    table = statement.table
    reads = {name: _columns_in(value) & (set(values) - {name}) for name, value in values.items()}
    # A column comes after those that read it.
    after: dict[str, set[str]] = {name: set() for name in values}
    for name, read in reads.items():
        for other in read:
            after[other].add(name)
    try:
        order = list(TopologicalSorter(after).static_order())
    except CycleError as error:
        raise ValueError(f"assignments that read each other: {error.args[1]}") from None
    return statement.ordered_values(*((table.c[name], values[name]) for name in order))


def _columns_in(value: Any) -> set[str]:
    if isinstance(value, QueryableAttribute):
        value = value.__clause_element__()
    if not isinstance(value, ClauseElement):
        return set()
    return {
        each.name for each in visitors.iterate(value) if isinstance(each, sa.ColumnClause) and each.table is not None
    }


# -- How many rows a statement has changed, and values for each of them ------------------------------------------------


def changed_rows(result: sa.Result[Any]) -> int:
    """Return how many rows an UPDATE or DELETE without RETURNING has matched."""
    assert isinstance(result, sa.CursorResult)
    return result.rowcount


def value_by(key: sa.ColumnElement[Any], values: Mapping[Any, Any]) -> sa.ColumnElement[Any]:
    """For each row the value that stands under its `key` in `values`, which is not empty; NULL where there is none."""
    return sa.case(*((sa.literal(each, key.type), value) for each, value in values.items()), value=key)
