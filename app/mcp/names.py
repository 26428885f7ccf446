"""The names of tools. Many clients take only letters, digits, `_` and `-`, 64 at most: a task's name has dots.

A dot becomes `-`, so `app.tasks.send` is `app-tasks-send`, and each `-` is a dot again. Any other name, such as one
that has a `-` itself, becomes a readable part, `--` and a digest of the name. `--` is in no name of the first kind.
"""

import hashlib
import re
from collections.abc import Iterable

MAX_CHARACTERS = 64
# The tools beside those of the tasks. A task of such a name is called by its digest.
GET_TASK, WAIT_TASK, CANCEL_TASK = RESERVED = ("get_task", "wait_task", "cancel_task")

_PLAIN = re.compile(r"[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*", re.ASCII)
_OTHER = re.compile(r"[^A-Za-z0-9]+", re.ASCII)
_DIGEST = "--"
_DIGEST_DIGITS = 16


def tool_name(celery_task_name: str) -> str:
    """Return the name of the tool that runs this task."""
    if _is_plain(celery_task_name):
        return celery_task_name.replace(".", "-")
    digest = hashlib.sha256(celery_task_name.encode("utf-8", "backslashreplace")).hexdigest()[:_DIGEST_DIGITS]
    readable = _OTHER.sub("_", celery_task_name)[: MAX_CHARACTERS - len(_DIGEST) - len(digest)]
    return f"{readable}{_DIGEST}{digest}"


def task_name(tool: str, known: Iterable[str]) -> str | None:
    """Return the one of the known tasks that this tool runs, None if there is none."""
    if _DIGEST in tool:
        return next((name for name in known if tool_name(name) == tool), None)
    name = tool.replace("-", ".")
    return name if _is_plain(name) and name in known else None


def _is_plain(celery_task_name: str) -> bool:
    fits = len(celery_task_name) <= MAX_CHARACTERS and celery_task_name not in RESERVED
    return fits and _PLAIN.fullmatch(celery_task_name) is not None
