"""The start of a process: imports without the garbage collector, and what is told where it cannot start.

Standard library alone: commands and the launcher import this before anything else.
"""

import gc
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import app

# Objects more than were freed until the collector looks for circles. Python's 700 has it walk through a batch of a
# thousand tasks again and again while that is being read, and through the modules that a command imports.
GC_THRESHOLDS = (20_000, 20, 20)


@contextmanager
def paused_collector() -> Iterator[None]:
    """Collect nothing within. What is imported stays, and a fifth of the time would go to walks through it."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


# -- The status with which a process ends that cannot start: what started it reads this --------------------------------

# The settings are refused: it is of no use to start the process again (EX_CONFIG of sysexits.h).
EXIT_CONFIGURATION = 78


# -- Where the import of a module has failed ---------------------------------------------------------------------------

_OWN = f"{Path(app.__file__).parent}/"
_LIBRARIES = ("/site-packages/", "/dist-packages/", f"{sysconfig.get_path('stdlib')}/")


def place_of(error: BaseException, imported: str | None = None) -> str:
    """Return the file and line: of the innermost frame of a user's module, else of the service, else of any.

    `imported` is the file whose import failed: it is the place if it is a user's and none of the frames is.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]
    known = [frame for frame in frames if not any(part in frame.filename for part in _LIBRARIES)]
    of_user = [frame for frame in known if not frame.filename.startswith(_OWN)]
    if not of_user and imported and not imported.startswith(_OWN):
        return imported
    found = of_user or known or frames
    return f"{found[-1].filename}:{found[-1].lineno}" if found else "an unknown place"


def describe_with_place(error: BaseException) -> str:
    """Return the error in one line, with its place."""
    said = error.msg if isinstance(error, SyntaxError) else str(error).partition("\n")[0]
    return f"{': '.join(filter(None, (type(error).__name__, said)))} ({place_of(error)})"
