"""Conditions of portable statements that each engine spells in its own way."""

from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, bindparam, literal_column
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.visitors import InternalTraversal

from app.ddl.columns import array_of


def has_rows(found: Select[Any]) -> ColumnElement[bool]:
    """The SELECT, of one column that is never NULL, has a row.

    By LIMIT, and in the order of an index where the SELECT names one: of EXISTS an engine may make a join, or read the
    table until it finds a row.
    """
    return found.limit(literal_column("1", Integer)).scalar_subquery().is_not(None)


class is_one_of(ColumnElement[bool]):  # noqa: N801 (used as a function)
    """The column's value is in the list `parameter`, which may be empty.

    On PostgreSQL the list is one array: one statement for any number of values, which can be prepared. Elsewhere the
    values become parameters of their own.
    """

    _traverse_internals = [  # noqa: RUF012 (SQLAlchemy's)
        ("column", InternalTraversal.dp_clauseelement),
        ("parameter", InternalTraversal.dp_string),
    ]
    # No Boolean: SQLAlchemy would compare it with 1 where an engine has no such type, and no index serves that.

    def __init__(self, column: Any, parameter: str) -> None:
        self.column = column.__clause_element__() if hasattr(column, "__clause_element__") else column
        self.parameter = parameter


@compiles(is_one_of)
def _in(element: is_one_of, compiler: SQLCompiler, **options: Any) -> str:
    values = bindparam(element.parameter, expanding=True, type_=element.column.type)
    return compiler.process(element.column.in_(values).self_group(), **options)


@compiles(is_one_of, "postgresql")
def _any(element: is_one_of, compiler: SQLCompiler, **options: Any) -> str:
    values = bindparam(element.parameter, type_=array_of(element.column.type))
    column, array = (compiler.process(each, **options) for each in (element.column, values))
    return f"{column} = ANY ({array})"
