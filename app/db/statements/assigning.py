"""The order of assignments in an UPDATE.

SQL gives all expressions the values from before the statement. MySQL does so only as long as no column to the left of
the expression has been assigned: `SET a = a + 1, b = a` sets b to the new a.
"""

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from sqlalchemy import ColumnClause, Update
from sqlalchemy.orm.attributes import QueryableAttribute
from sqlalchemy.sql import ClauseElement, visitors


def assign(statement: Update, values: Mapping[str, Any]) -> Update:
    """`statement` with these values by column name, each assigned before the columns that its expression reads.

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
    return {each.name for each in visitors.iterate(value) if isinstance(each, ColumnClause) and each.table is not None}
