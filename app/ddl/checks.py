"""Checks that several tables have."""

from enum import StrEnum

from sqlalchemy import CheckConstraint


def one_of(column: str, kind: type[StrEnum]) -> CheckConstraint:
    """The column, of the same name as the check, has a value of this enumeration, or none."""
    return CheckConstraint(f"{column} IN ({', '.join(repr(str(each)) for each in kind)})", name=column)
