"""Imports what the parts import, with their settings: `python -m app.launcher.trial`.

Prints a line that begins with REFUSED for each module that cannot be imported, and exits with 1 if there is one.
"""

import sys
from importlib import import_module

from app.core.config import ConfigurationError, get_settings
from app.core.process_start import describe_with_place
from app.launcher.fork_server import IMPORTED

REFUSED = "refused: "


def main() -> int:
    """Return the exit code."""
    try:
        refused = _refused()
    except ConfigurationError as error:
        refused = str(error).splitlines()
    except (Exception, SystemExit) as error:  # noqa: BLE001 (a module raises what it likes)
        refused = [describe_with_place(error)]
    for each in refused:
        print(f"{REFUSED}{each}", flush=True)
    return 1 if refused else 0


def _refused() -> list[str]:
    import_module("app.messaging.loader").check_task_modules(get_settings())
    for module in IMPORTED:
        import_module(module)
    loader = import_module("app.celery_app").celery_app.loader
    loader.import_default_modules()
    return [f"{finding.what}: {finding.reason} ({finding.place})" for finding in loader.findings]


if __name__ == "__main__":
    sys.exit(main())
