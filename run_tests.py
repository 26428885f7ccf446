#!/usr/bin/env python3
"""Runs the tests that every change must pass, with `--full` all, and writes `reports/index.html`.

`python3 run_tests.py --help` tells the options.

This file parses on any Python 3, so that one that is too old is told so in a line instead of a SyntaxError; the work is
done in `tests/report`.
"""

import sys
from pathlib import Path

MINIMUM = (3, 11)
ROOT = str(Path(__file__).absolute().parent)


def main() -> int:
    if sys.version_info < MINIMUM:
        sys.stderr.write(
            "error: Python 3.11 or newer is needed, and this is %d.%d.%d: run it with a newer one "
            "(python3.13 run_tests.py) or install uv and use `uv run --no-project --python 3.13 run_tests.py`\n"
            % tuple(sys.version_info[:3])
        )
        return 1
    sys.path.insert(0, ROOT)
    from app.launcher.venv import run_in_venv

    requirements = ["requirements.txt", "tests/requirements.txt"]
    return run_in_venv(ROOT, "tests.report.runner", requirements, options="tests.report.options")


if __name__ == "__main__":
    sys.exit(main())
