"""Where the import of a module has failed."""

import sysconfig
import traceback
from pathlib import Path

import app

_OWN = f"{Path(app.__file__).parent}/"
_LIBRARIES = ("/site-packages/", "/dist-packages/", f"{sysconfig.get_path('stdlib')}/")


def place_of(error: BaseException) -> str:
    """Return the file and line: of the innermost frame of a user's module, else of the service, else of any."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]
    known = [frame for frame in frames if not any(part in frame.filename for part in _LIBRARIES)]
    of_user = [frame for frame in known if not frame.filename.startswith(_OWN)]
    found = of_user or known or frames
    return f"{found[-1].filename}:{found[-1].lineno}" if found else "an unknown place"


def described(error: BaseException) -> str:
    """Return the error in one line, with its place."""
    said = error.msg if isinstance(error, SyntaxError) else str(error).partition("\n")[0]
    return f"{type(error).__name__}: {said} ({place_of(error)})"
