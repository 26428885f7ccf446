"""A batch of rows to change or delete, shared out among all who take from the same table."""

from typing import Any

from sqlalchemy import Select, select


def batch(keys: Select[*tuple[Any, ...]], limit: int) -> Select[*tuple[Any, ...]]:
    """At most `limit` of these keys, their rows locked, those that somebody else has locked left out.

    In a CTE: a subquery with LIMIT may be run again for each row of the statement around it, and took 50 rows of a
    limit of one.
    """
    taken = keys.limit(limit).with_for_update(skip_locked=True).cte("batch")
    return select(*taken.c)
