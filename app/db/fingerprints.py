"""The fingerprint of a failure, made in the statement that fails the task: user and name are those of the row."""

from typing import Any

from sqlalchemy import ColumnElement, Text, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

CHARACTERS = 32


class _Fingerprint(FunctionElement[str]):
    """The first digits of the SHA-256 digest of an id and texts, with a line break between two. NULL is left out."""

    type = Text()
    inherit_cache = True


def fingerprint_of(
    user_id: Any, name: Any, error_type: str | ColumnElement[Any], key: str | ColumnElement[Any]
) -> ColumnElement[str]:
    """32 hexadecimal digits. `key` is one of `app/core/error_keys.py`."""
    texts = (literal(text, Text) if isinstance(text, str) else text for text in (error_type, key))
    return _Fingerprint(user_id, name, *texts)


def _parts(element: _Fingerprint, compiler: SQLCompiler, options: dict[str, Any]) -> list[str]:
    return [compiler.process(each, **options) for each in element.clauses]


@compiles(_Fingerprint)
def _of_postgresql(element: _Fingerprint, compiler: SQLCompiler, **options: Any) -> str:
    texts = (f"CAST({part} AS TEXT)" for part in _parts(element, compiler, options))
    whole = f"convert_to(concat_ws(chr(10), {', '.join(texts)}), 'UTF8')"
    return f"left(encode(sha256({whole}), 'hex'), {CHARACTERS})"


@compiles(_Fingerprint, "mysql")
def _of_mysql(element: _Fingerprint, compiler: SQLCompiler, **options: Any) -> str:
    user_id, *texts = _parts(element, compiler, options)
    whole = ", ".join([f"lower(hex({user_id}))", *texts])
    return f"substr(sha2(concat_ws(char(10), {whole}), 256), 1, {CHARACTERS})"


@compiles(_Fingerprint, "sqlite")
def _of_sqlite(element: _Fingerprint, compiler: SQLCompiler, **options: Any) -> str:
    """By a function that each connection defines (`app/db/connecting/sqlite.py`)."""
    return f"substr(sha256_hex(concat_ws(char(10), {', '.join(_parts(element, compiler, options))})), 1, {CHARACTERS})"
