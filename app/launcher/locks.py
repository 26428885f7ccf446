"""The locks of requirements.txt: every package that it needs, with the hashes of its files. Standard library alone."""

import hashlib
import re
from pathlib import Path

REQUIREMENTS = "requirements.txt"
# The image's packages, and those that requirements.txt names beside them. `make lock` writes both.
LOCKS = ("requirements.lock", "requirements-dev.lock")
MARK = "# of requirements.txt "
_COMMENT = re.compile(r"(?:^|\s)#.*")


def digest(requirements: str) -> str:
    """A digest of what the text of a requirements file asks for, whatever its comments say."""
    lines = (_COMMENT.sub("", line).strip() for line in requirements.splitlines())
    return hashlib.sha256("\n".join(filter(None, lines)).encode()).hexdigest()


def why_unlocked(root: Path) -> str:
    """Why requirements.txt below `root` cannot be installed from its locks, as half a sentence; empty if it can."""
    missing = [name for name in LOCKS if not (root / name).exists()]
    if missing:
        return f"there is no {missing[0]}"
    mark = MARK + digest((root / REQUIREMENTS).read_text(encoding="utf-8"))
    if mark not in (root / LOCKS[-1]).read_text(encoding="utf-8").splitlines():
        return f"{REQUIREMENTS} has changed since `make lock`"
    return ""
