"""The names of columns, and how many columns and cells a table may have.

A cell takes 16 bytes or more in memory, also one that is empty and takes one byte in a file. How many rows are in
memory at a time is decided by their cells (`engine.BATCH_CELLS`). Of a wide table these are few rows, and what polars
keeps for each column of each batch grows, and so does its time.
"""

from collections.abc import Collection

from app.tasks.data.errors import UnusableData

MAX_COLUMNS = 10_000
WIDE_COLUMNS = 1000
MAX_WIDE_CELLS = 25_000_000


def is_pattern(name: str) -> bool:
    """Say whether polars reads the name as a pattern of many columns instead."""
    return name == "*" or (name.startswith("^") and name.endswith("$"))


def check_number(columns: int, name: str) -> None:
    """Raise UnusableData unless the file called `name` can have so many columns."""
    if not 0 < columns <= MAX_COLUMNS:
        raise UnusableData(f"{name} has {columns} columns: send between 1 and {MAX_COLUMNS}")


def check_names(names: Collection[str], name: str) -> None:
    """Raise UnusableData unless the file called `name` can have columns of these names."""
    check_number(len(names), name)
    for each in names:
        if is_pattern(each):
            raise UnusableData(f"{name} has a column {each[:50]!r}, which reads as a pattern of names: rename it")


def check_cells(columns: int, rows: int, name: str) -> None:
    """Raise UnusableData where the table called `name` is wide and has more than MAX_WIDE_CELLS cells."""
    if columns > WIDE_COLUMNS and columns * rows > MAX_WIDE_CELLS:
        raise UnusableData(
            f"{name} has {columns} columns and {rows} rows: a table of more than {WIDE_COLUMNS} columns has at most "
            f"{MAX_WIDE_CELLS} cells: split it by columns, or by rows"
        )


def distinct_names(header: list[str]) -> list[str]:
    """Return the names without white space around them; an empty one is `column_3`, one seen before gets a number."""
    names: list[str] = []
    known = {each.strip() for each in header}
    taken: set[str] = set()
    for at, each in enumerate(header, start=1):
        base = each.strip() or f"column_{at}"
        unique, number = base, 1
        while unique in taken or (number > 1 and unique in known):
            number += 1
            unique = f"{base}_{number}"
        taken.add(unique)
        names.append(unique)
    return names
