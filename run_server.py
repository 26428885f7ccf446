#!/usr/bin/env python3
"""Starts the whole service: `python3 run_server.py` (`--help` tells the options; `app/launcher` does the work).

This file parses on any Python 3, so that one that is too old is told so in a line instead of a SyntaxError.
"""

import sys
from pathlib import Path

MINIMUM = (3, 11)
ROOT = str(Path(__file__).resolve().parent)


def main() -> int:
    if sys.version_info < MINIMUM:
        sys.stderr.write(
            "error: Python 3.11 or newer is needed, and this is %d.%d.%d: use a newer one (python3.13 run_server.py), "
            "or install uv and `uv run --no-project --python 3.13 run_server.py`\n" % tuple(sys.version_info[:3])
        )
        return 1
    sys.path.insert(0, ROOT)
    from app.launcher.venv import run_in_venv

    return run_in_venv(ROOT, "app.launcher.server", ["requirements.txt"], options="app.launcher.options")


if __name__ == "__main__":
    sys.exit(main())
