"""Which change of a task's row is a legal move, worked out from the documents alone: DESIGN's life of a task.

`unlawful(old, new)` names what is wrong with it. Neither the trigger nor the table of transitions is asked.
"""

from collections.abc import Mapping
from typing import Any

Row = Mapping[str, Any]

TERMINAL = frozenset({"succeeded", "failed", "revoked"})
MOVES = frozenset(
    {
        ("pending", "running"),
        ("pending", "revoked"),
        ("running", "succeeded"),
        ("running", "failed"),
        ("running", "revoked"),
        ("running", "pending"),
        ("failed", "pending"),
        ("revoked", "pending"),
    }
)
# «Terminal rows change by that retry alone»: what tells how a task ended.
ENDING = ("finished_at", "progress", "progress_detail", "result", "error_type", "error_message", "args", "kwargs")
FIXED = ("id", "user_id", "celery_task_name")
MAX_CRASHES = 3


def unlawful(old: Row, new: Row) -> list[str]:
    """Everything that is wrong with the change; empty for a legal one."""
    return [*unfit(new), *(_stayed(old, new) if old["status"] == new["status"] else _moved(old, new)), *_ever(old, new)]


def unfit(row: Row) -> list[str]:
    """What is wrong with the row by itself."""
    status = row["status"]
    rules = {
        "running without a claim, or a claim without running": (status == "running") == (row["claim_id"] is not None),
        "pending without a time when it is due, or the reverse": (status == "pending") == (row["due_at"] is not None),
        "a turn of what does not wait": status == "pending" or row["turn"] is None,
        "ended without a finish, or the reverse": (status in TERMINAL) == (row["finished_at"] is not None),
        "a key after the end, or none before it": row["active_key"]
        == (None if status in TERMINAL else row["unique_key"]),
        "failed without a group, or a group without failed": (status == "failed")
        == (row["error_fingerprint"] is not None),
        "progress is no percentage": 0 <= row["progress"] <= 100,
        "more failures than attempts allowed": 0 <= row["failures"] <= row["max_attempts"],
        "more crashes than the cap": 0 <= row["crashes"] <= MAX_CRASHES,
    }
    return [what for what, holds in rules.items() if not holds]


def _ever(old: Row, new: Row) -> list[str]:
    retried = old["status"] in TERMINAL and new["status"] == "pending"
    asked, asks = old["cancel_requested_at"] is not None, new["cancel_requested_at"] is not None
    rules = {
        "a request to cancel was taken back": asks or not asked or retried,
        "another identity": all(old[name] == new[name] for name in FIXED),
        "version jumped": new["version"] - old["version"] in {0, 1},
        "celery_id is that of a generation": (old["celery_id"] != new["celery_id"]) == retried,
        "a generation begins with a retry alone": new["generation"] == old["generation"] + retried,
        "attempt rises with a claim alone": new["attempt"]
        == old["attempt"] + (old["status"] == "pending" and new["status"] == "running"),
    }
    return [what for what, holds in rules.items() if not holds]


def _stayed(old: Row, new: Row) -> list[str]:
    counters = ("failures", "crashes", "claim_id")
    found = [f"{name} changed by itself" for name in counters if old[name] != new[name]]
    if old["status"] in TERMINAL:
        found += [f"{name} of an ended task changed" for name in ENDING if old[name] != new[name]]
    return found


def _moved(old: Row, new: Row) -> list[str]:
    move = (old["status"], new["status"])
    if move not in MOVES:
        return [f"no move from {move[0]} to {move[1]}"]
    rules = {"failures and crashes": _counted(old, new)}
    if old["status"] == "running" and old["cancel_requested_at"] is not None:
        rules["the request to cancel beats failure, retry and loss"] = new["status"] in {"succeeded", "revoked"}
    return [what for what, holds in rules.items() if not holds]


def _counted(old: Row, new: Row) -> bool:
    """A failure or a crash counts once, as an attempt ends in it; a retry through the API counts anew."""
    change = (new["failures"] - old["failures"], new["crashes"] - old["crashes"])
    if old["status"] in TERMINAL:
        return (new["failures"], new["crashes"]) == (0, 0)
    if old["status"] == "running" and new["status"] in {"failed", "pending"}:
        return change in {(0, 0), (1, 0), (0, 1)}
    return change == (0, 0)
