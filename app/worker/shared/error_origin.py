"""Where in its user's code an error was raised."""

import sysconfig
from functools import cache
from pathlib import Path
from types import FrameType, TracebackType

import app

_APP = str(Path(app.__file__).parent)
# The bodies of the service's own tasks are what a user runs.
_BODIES = str(Path(_APP, "tasks"))
_STANDARD = tuple(f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib"))
_INSTALLED = ("/site-packages/", "/dist-packages/")
ORIGIN_CHARACTERS = 300


def origin_of(error: BaseException) -> str:
    """Module and function of the innermost frame that is neither of a library nor of the service; "" without one.

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
