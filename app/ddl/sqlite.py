"""The triggers of SQLite, by the table that they stand on.

They use no function but SQLite's own, so they also hold for a statement in the `sqlite3` shell. A message of RAISE is a
literal before SQLite 3.47. An UPDATE that sets none of the columns behind OF runs no code of a trigger.
"""

import re
from itertools import permutations

from app.ddl import trigger_rules
from app.ddl.terms import COUNT_RETRY, IS_TRIED_AGAIN, STATES


def _refusal(words: str) -> str:
    """Without the id. States are named, by a case for each two; of other columns stands the name, not the value."""
    text = re.sub(r"\{(\w+\.\w+)\}", r"\1", words.replace(" {OLD.id}", ""))
    refusal = f"RAISE(ABORT, '{text}')"
    if "{OLD.status}" not in words:
        return refusal
    lines = [
        f"WHEN OLD.status = '{old}' AND NEW.status = '{new}'"
        f" THEN {_refusal(words.replace('{OLD.status}', old).replace('{NEW.status}', new))}"
        for old, new in permutations(STATES, 2)
    ]
    return "CASE\n    " + "\n    ".join([*lines, f"ELSE {refusal}", "END"])


def _rules(rules: trigger_rules.Rules) -> str:
    """Return an expression that refuses the row, or is NULL."""
    lines = [
        f"WHEN {condition} THEN {_refusal(f'tasks_guard: {then}') if isinstance(then, str) else _rules(then)}"
        for condition, then in rules
    ]
    return "CASE\n    " + "\n    ".join([*lines, "END"])


_GUARD = f"""CREATE TRIGGER tasks_guard BEFORE UPDATE ON tasks
BEGIN
    SELECT {_rules(trigger_rules.guard_rules(lambda column: f"NEW.{column} IS NOT OLD.{column}"))};
END"""
_SPELLING = trigger_rules.TimeSpelling("max({0}, {1})", "({1} - {0}) / 1e6")
_INSERTED = f"""CREATE TRIGGER tasks_count_inserted AFTER INSERT ON tasks WHEN NEW.finished_at IS NOT NULL
BEGIN
    {trigger_rules.count_inserted()}
END"""
_ENDED = f"""CREATE TRIGGER tasks_count_ended AFTER UPDATE OF status ON tasks
WHEN OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL
BEGIN
    {trigger_rules.count_entering(_SPELLING, trigger_rules.ATTEMPT_BEFORE)}
END"""
_LEFT = f"""CREATE TRIGGER tasks_count_left AFTER UPDATE OF {", ".join(trigger_rules.COUNTED_COLUMNS)} ON tasks
WHEN OLD.finished_at IS NOT NULL
BEGIN
    {trigger_rules.count_leaving()}
END"""
_STAYED = f"""CREATE TRIGGER tasks_count_stayed AFTER UPDATE OF {", ".join(trigger_rules.COUNTED_COLUMNS)} ON tasks
WHEN OLD.finished_at IS NOT NULL AND NEW.finished_at IS NOT NULL
BEGIN
    {trigger_rules.count_staying()}
END"""
_DELETED = f"""CREATE TRIGGER tasks_count_deleted AFTER DELETE ON tasks WHEN OLD.finished_at IS NOT NULL
BEGIN
    {trigger_rules.count_leaving()}
END"""
_FOLLOWED = f"""CREATE TRIGGER tasks_followed AFTER UPDATE OF status ON tasks
WHEN NEW.followers <> 0 AND OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL
BEGIN
    {trigger_rules.outbox_of_ended()}
END"""
_FOLLOWED_RETRIED = f"""CREATE TRIGGER tasks_followed_retried AFTER UPDATE OF status ON tasks
WHEN NEW.followers <> 0 AND OLD.finished_at IS NOT NULL AND NEW.finished_at IS NULL
BEGIN
    {trigger_rules.outbox_of_retried()}
END"""
_FOLLOWED_DELETED = f"""CREATE TRIGGER tasks_followed_deleted AFTER DELETE ON tasks WHEN OLD.followers <> 0
BEGIN
    {trigger_rules.outbox_of_deleted()}
END"""
_END_WANTED = f"""CREATE TRIGGER tasks_end_wanted AFTER UPDATE OF status ON tasks
WHEN {trigger_rules.END_IS_WANTED}
BEGIN
    {trigger_rules.outbox_of_wanted_end()}
END"""
_RETRIED = f"""CREATE TRIGGER task_attempts_retried AFTER INSERT ON task_attempts WHEN {IS_TRIED_AGAIN}
BEGIN
    {COUNT_RETRY}
END"""

# Records may be deleted while this table has a row, seen by its transaction alone: `app/db/statements/audit.py`.
PRUNING = "audit_pruning"
_PRUNING = f"CREATE TABLE {PRUNING} (id INTEGER PRIMARY KEY)"
_APPEND_ONLY = "SELECT RAISE(ABORT, 'audit_events is append-only: no {}')"
_NO_UPDATE = f"""CREATE TRIGGER audit_events_no_update BEFORE UPDATE ON audit_events
BEGIN
    {_APPEND_ONLY.format("UPDATE")};
END"""
_NO_DELETE = f"""CREATE TRIGGER audit_events_no_delete BEFORE DELETE ON audit_events
WHEN NOT EXISTS (SELECT 1 FROM {PRUNING})
BEGIN
    {_APPEND_ONLY.format("DELETE")};
END"""  # noqa: S608 (constants)  # nosec B608
# A row that INSERT OR REPLACE deletes runs no trigger of a DELETE.
_NO_REPLACE = f"""CREATE TRIGGER audit_events_no_replace BEFORE INSERT ON audit_events
WHEN EXISTS (SELECT 1 FROM audit_events WHERE id = NEW.id)
BEGIN
    {_APPEND_ONLY.format("REPLACE")};
END"""  # noqa: S608 (constants)  # nosec B608

_TO_FOLLOWERS = (_FOLLOWED, _FOLLOWED_RETRIED, _FOLLOWED_DELETED, _END_WANTED)
CREATE: dict[str, tuple[str, ...]] = {
    "tasks": (_GUARD, _INSERTED, _ENDED, _LEFT, _STAYED, _DELETED, *_TO_FOLLOWERS),
    "task_attempts": (_RETRIED,),
    "audit_events": (_PRUNING, _NO_UPDATE, _NO_DELETE, _NO_REPLACE),
}

NOW = "CAST(unixepoch('subsec') * 1000000 AS INTEGER)"
# Why a task of `tasks` waits (`app/ddl/engines.py`).
WAITS = trigger_rules.waits(NOW)
