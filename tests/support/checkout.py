"""A copy of this checkout, in which a test may write what a user would: tasks, `.env`."""

import shutil
import subprocess
from pathlib import Path

from tests.support.services import ROOT
from tests.support.sources import tracked_files


def copy_of_checkout(directory: Path) -> Path:
    """The files under version control, and their links; a repository of its own, as a user's clone is one."""
    for path in tracked_files():
        target = directory / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    (directory / "alembic").symlink_to((ROOT / "alembic").readlink())
    subprocess.run(["git", "init", "-q"], cwd=directory, check=True)
    return directory
