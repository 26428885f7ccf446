"""Column types, defaults and CHECK texts that PostgreSQL alone has."""

from sqlalchemy import Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

# A list of strings in one column.
TextList = ARRAY(Text)
NO_TEXTS = "{}"
# A JSON object that is stored parsed: its numbers are PostgreSQL's, its key order is not kept.
JsonObject = JSONB()


def subset_check(column: str, allowed: list[str]) -> str:
    """The text of a CHECK: the TextList `column` is not empty and holds nothing but `allowed`."""
    names = ", ".join(f"'{name}'" for name in allowed)
    return f"{column} <@ ARRAY[{names}] AND {column} <> '{NO_TEXTS}'"
