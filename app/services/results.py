"""How large what a body says may be: its result, and the detail of its progress."""

from typing import Any

from app.core.config import get_settings
from app.db.base import json_size
from app.errors import ResultTooLarge


def check_size(value: Any, what: str = "result") -> None:
    """Raises ResultTooLarge, and what `dump_json` raises for what is not JSON. Nothing is ever cut."""
    if value is None:
        return
    size, limit = json_size(value), get_settings().max_result_bytes
    if size > limit:
        raise ResultTooLarge(
            f"the {what} takes {size} bytes of JSON, and MAX_RESULT_BYTES allows {limit}: keep it elsewhere and return "
            "where it is"
        )
