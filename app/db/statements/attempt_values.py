"""What the statements that end an attempt are given, and what those that write its progress return."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Text, bindparam

# Type, message and traceback of an error.
Error = tuple[str | None, str | None, str | None]
# When a cancellation was requested, in a tuple; None where the attempt no longer holds the task.
Cancellation = Sequence[datetime | None] | None

# A bind parameter named like a column would be taken for a value to SET, hence the `p_`.
ERROR_TYPE = bindparam("p_error_type", type_=Text)
ERROR_MESSAGE = bindparam("p_error_message", type_=Text)
TRACEBACK = bindparam("p_traceback", type_=Text)


def error_values(error: Error) -> dict[str, Any]:
    """The values of these parameters."""
    kind, message, traceback = error
    return {"p_error_type": kind, "p_error_message": message, "p_traceback": traceback}
