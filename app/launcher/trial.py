"""Imports what the parts import, with their settings: `python -m app.launcher.trial`.

Prints a line that begins with REFUSED for each module that cannot be imported, or the line ACCEPTED at its end. Waits
for no thread that a module has started.
"""

import os
import sys
from importlib import import_module

from app.core.config import ConfigurationError, get_settings
from app.core.process_start import describe_with_place
from app.launcher.fork_server import IMPORTED

REFUSED, ACCEPTED = "refused: ", "accepted"


def main() -> int:
    """Return the exit code."""
    output = sys.stdout  # a module may put another in its place
    try:
        refused = _refused()
    except ConfigurationError as error:
        refused = str(error).splitlines()
    except BaseException as error:  # noqa: BLE001 (a module raises what it likes)
        refused = [describe_with_place(error)]
    for line in [f"{REFUSED}{each}" for each in refused] or [ACCEPTED]:
        output.write(f"\n{line}\n")  # a module may have left its last line open
    output.flush()
    return 1 if refused else 0


def _refused() -> list[str]:
    if missing := import_module("app.messaging.loader").missing_task_modules(get_settings()):
        return [f"{module}, which TASK_MODULES names, was deleted or renamed" for module in missing]
    for module in IMPORTED:
        import_module(module)
    loader = import_module("app.celery_app").celery_app.loader
    loader.import_default_modules()
    return [f"{finding.what}: {finding.reason} ({finding.place})" for finding in loader.findings]


if __name__ == "__main__":
    os._exit(main())
