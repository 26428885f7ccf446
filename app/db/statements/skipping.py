"""The distinct values of an indexed column, found by skipping from each to the next: two look-ups for each value.

DISTINCT would read every row, of which one value may have any number.
"""

from typing import Any

import sqlalchemy as sa


def walk(column: Any, *which: sa.ColumnElement[bool], most: Any) -> sa.CTE:
    """Return the next `most` values (a number, or a parameter) behind the parameter `after`, each with its `number`.

    An index begins with the columns that `which` names, and goes on with this one. The last row may be NULL.
    """

    def first(behind: Any) -> Any:
        return sa.select(column).where(*which, column > behind).order_by(column).limit(1)

    start = first(sa.bindparam("after", type_=column.type)).scalar_subquery()
    steps = sa.select(start.label("value"), sa.literal(1, sa.Integer).label("number")).cte("found", recursive=True)
    following = first(steps.c.value).correlate(steps).scalar_subquery()
    return steps.union_all(
        sa.select(following, steps.c.number + 1).where(steps.c.value.is_not(None), steps.c.number < most)
    )


def walk_values(column: Any, *which: sa.ColumnElement[bool], most: Any) -> sa.Select[Any]:
    """Return the SELECT of these values alone, in their order."""
    found = walk(column, *which, most=most)
    return sa.select(found.c.value).where(found.c.value.is_not(None)).order_by(found.c.number)
