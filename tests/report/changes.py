"""Whether a run of the default tier has MariaDB, MySQL, all statements on SQLite, and the migrations: where the change may
concern them. Else it has the core of the statements on SQLite.

`python -m tests.report.changes` exits with 0 where it may.
"""

import subprocess
import sys
from collections.abc import Sequence

from tests.report.model import ROOT
from tests.tiers import STATEMENTS

LONG_ONLY = ("load",)
BY_PATH = ("mariadb", "mysql")
# A mutant that only these tests see lies in one of these.
CONCERNING = (
    "alembic", "app/db/", "app/ddl/", "app/models/", "app/migrations/", "app/core/engines.py", "app/maintenance/lease.py", "app/services/tasks/unique_keys.py",
    "app/core/config.py", "app/core/setting_fields.py",
    "requirements", "tests/support/databases.py", "tests/support/example_revisions/", "tests/support/schemas.py",
    *(f"tests/{file}" for file in STATEMENTS),
)  # fmt: skip


def default_suites(suites: Sequence[str], *, engines: bool) -> list[str]:
    """Return the suites of a default run; `engines`: of a change that may concern them."""
    left_out = {*LONG_ONLY, *(() if engines else BY_PATH)}
    return [name for name in suites if name not in left_out]


def concern_engines() -> bool:
    """Whether the difference to origin/main, on main to its parent, touches those paths, or no base is known."""
    base = _git("merge-base", "HEAD", "origin/main")
    if base == _git("rev-parse", "HEAD"):
        base = _git("rev-parse", "--verify", "HEAD^")
    changed = _git("diff", "--name-only", "--no-renames", base) if base else None
    if changed is None:
        return True
    new = _git("ls-files", "-o", "--exclude-standard") or ""
    return any(path.startswith(CONCERNING) for path in [*changed.splitlines(), *new.splitlines()])


def _git(*arguments: str) -> str | None:
    """What git prints; None where it fails, or is missing."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


if __name__ == "__main__":
    sys.exit(0 if concern_engines() else 1)
