"""An error as the record shows it."""

import traceback

from app.core.error_keys import error_key
from app.core.redacted_text import redact_text
from app.services.execution.attempts import AttemptError
from app.worker.shared.error_origin import origin_of

MESSAGE_LIMIT = 2_000
TRACEBACK_LIMIT = 20_000
REDACTED_LIMIT = 5 * TRACEBACK_LIMIT


def describe(error: BaseException) -> AttemptError:
    """The error as `attempts` shows it: without secrets, and cut to a size that a row can carry."""
    text = "".join(traceback.format_exception(error))[-REDACTED_LIMIT:]
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    # Cut last: a part of a secret would not be recognised.
    message = clean(redact_text(_message(error)[:REDACTED_LIMIT]))[:MESSAGE_LIMIT]
    key = error_key(message, clean(origin_of(error)))
    return AttemptError(name, message, clean(redact_text(text))[-TRACEBACK_LIMIT:], key)


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 (a `__str__` may raise anything)
        return "(its message cannot be shown)"


def clean(text: str) -> str:
    """The text as PostgreSQL can store it: no NUL, no lone surrogate."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")
