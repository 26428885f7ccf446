"""How large what a body says may be: its result, the detail of its progress, the arguments of its retry."""

from typing import Any

from app.core.config import get_settings
from app.db.base import json_size
from app.errors import ResultTooLarge


def check_size(value: Any, what: str = "result", *, arguments: bool = False) -> None:
    """Raises ResultTooLarge, and what `dump_json` raises for what is not JSON. Nothing is ever cut."""
    settings = get_settings()
    name, limit = "MAX_RESULT_BYTES", settings.max_result_bytes
    if arguments:
        name, limit = "MAX_ARGUMENTS_BYTES", settings.max_arguments_bytes
    size = 0 if value is None else json_size(value)
    if size > limit:
        raise ResultTooLarge(f"the {what} takes {size} bytes of JSON, {name} allows {limit}: keep it elsewhere")
