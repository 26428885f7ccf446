"""An error as the record shows it, and where in its user's code it was raised."""

import sysconfig
import traceback
from functools import cache
from pathlib import Path
from types import FrameType, TracebackType

import app
from app.core.error_keys import error_key
from app.core.redacted_text import redact_text
from app.services.execution.attempts import AttemptError

MESSAGE_LIMIT = 2_000
TRACEBACK_LIMIT = 20_000
REDACTED_LIMIT = 5 * TRACEBACK_LIMIT


def describe(error: BaseException) -> AttemptError:
    """Return the error as `attempts` shows it: without secrets, and cut to a size that a row can carry."""
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
    """Return the text as PostgreSQL can store it: no NUL, no lone surrogate."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")


# -- Where in its user's code an error was raised ----------------------------------------------------------------------

_APP = str(Path(app.__file__).parent)
# The bodies of the service's own tasks are what a user runs.
_BODIES = str(Path(_APP, "tasks"))
_STANDARD = tuple(f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib"))
_INSTALLED = ("/site-packages/", "/dist-packages/")
ORIGIN_CHARACTERS = 300


def origin_of(error: BaseException) -> str:
    """Return module and function of the innermost frame of no library and not of the service; "" without one.

    Without the line: it moves with each change of the file.
    """
    found: FrameType | None = None
    at: TracebackType | None = error.__traceback__
    while at is not None:
        if not _is_foreign(at.tb_frame.f_code.co_filename):
            found = at.tb_frame
        at = at.tb_next
    if found is None:
        return ""
    return f"{found.f_globals.get('__name__', '?')}:{found.f_code.co_qualname}"[:ORIGIN_CHARACTERS]


@cache
def _is_foreign(filename: str) -> bool:
    path = filename.replace("\\", "/")
    if path.startswith(f"{_BODIES}/"):
        return False
    return any(part in path for part in _INSTALLED) or path.startswith(("<frozen ", f"{_APP}/", *_STANDARD))
