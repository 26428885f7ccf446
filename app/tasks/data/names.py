"""The names of columns."""

from collections.abc import Collection

from app.tasks.data.errors import UnusableData

MAX_COLUMNS = 20_000


def is_pattern(name: str) -> bool:
    """Say whether polars reads the name as a pattern of many columns instead."""
    return name == "*" or (name.startswith("^") and name.endswith("$"))


def check_names(names: Collection[str], name: str) -> None:
    """Raise UnusableData unless the file called `name` can have columns of these names."""
    if not 0 < len(names) <= MAX_COLUMNS:
        raise UnusableData(f"{name} has {len(names)} columns: send between 1 and {MAX_COLUMNS}")
    for each in names:
        if is_pattern(each):
            raise UnusableData(f"{name} has a column {each[:50]!r}, which reads as a pattern of names: rename it")


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
