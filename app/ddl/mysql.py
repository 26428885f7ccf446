"""The triggers of MySQL and MariaDB, by the table that they stand on.

An AFTER UPDATE trigger cannot name columns, so each looks for itself whether it has something to do. What it reads of
a row, InnoDB fetches for each UPDATE, also what stands on pages of its own.

Who creates triggers needs the privilege TRIGGER, and where the server writes a binary log also
`log_bin_trust_function_creators = 1` (or the privilege SUPER).
"""

import re

from app.ddl import trigger_rules
from app.ddl.terms import COUNT_RETRY, IS_TRIED_AGAIN

_HEX = "lower(hex({}))"
# For the service an IntegrityError, as what a CHECK refuses (`app/db/connections/mysql.py`).
_SIGNAL = "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = {}"


def _words(words: str) -> str:
    """Return SQL for the words, with the values of the columns in them."""
    parts = re.split(r"\{(\w+\.\w+)\}", words)
    values = [_HEX.format(part) if part.endswith(".id") else part for part in parts[1::2]]
    texts = [f"'{part}'" for part in parts[::2] if part]
    return f"concat({', '.join(part for pair in zip(texts, [*values, ''], strict=False) for part in pair if part)})"


def _rules(rules: trigger_rules.Rules, indent: str = "    ") -> str:
    """Return nested IFs. MySQL prepares an expression each time, so what is seldom asked stands in one of its own."""
    lines, word = [], "IF"
    for condition, then in rules:
        met = f"SET fault = {_words(then)};" if isinstance(then, str) else _rules(then, f"{indent}    ").strip()
        lines += [f"{indent}{word} {condition} THEN", f"{indent}    {met}"]
        word = "ELSEIF"
    return "\n".join([*lines, f"{indent}END IF;"])


def _differ(column: str) -> str:
    return f"NOT (NEW.{column} <=> OLD.{column})"


_GUARD = f"""CREATE TRIGGER tasks_guard BEFORE UPDATE ON tasks FOR EACH ROW
BEGIN
    DECLARE fault VARCHAR(200) CHARACTER SET utf8mb4;
{_rules(trigger_rules.guard_rules(_differ))}
    IF fault IS NOT NULL THEN
        SET fault = concat('tasks_guard: ', fault);
        {_SIGNAL.format("fault")};
    END IF;
END"""  # noqa: S608 (constants)  # nosec B608
_SPELLING = trigger_rules.TimeSpelling("greatest({0}, {1})", "timestampdiff(MICROSECOND, {0}, {1}) / 1e6")
_MOVED = " OR ".join(map(_differ, trigger_rules.COUNTED_COLUMNS))
_INSERTED = f"""CREATE TRIGGER tasks_count_inserted AFTER INSERT ON tasks FOR EACH ROW
IF NEW.finished_at IS NOT NULL THEN
    {trigger_rules.count_inserted()}
END IF"""
_UPDATED = f"""CREATE TRIGGER tasks_count_updated AFTER UPDATE ON tasks FOR EACH ROW
BEGIN
    DECLARE attempt_before DATETIME(6);
    IF OLD.finished_at IS NULL THEN
        IF NEW.finished_at IS NOT NULL THEN
            IF NEW.attempt > 1 THEN
                SET attempt_before = {trigger_rules.ATTEMPT_BEFORE};
            END IF;
            {trigger_rules.count_entering(_SPELLING, "attempt_before")}
        END IF;
    ELSEIF {_MOVED} THEN
        {trigger_rules.count_leaving()}
        IF NEW.finished_at IS NOT NULL THEN
            {trigger_rules.count_staying()}
        END IF;
    END IF;
END"""  # noqa: S608 (constants)  # nosec B608
_DELETED = f"""CREATE TRIGGER tasks_count_deleted AFTER DELETE ON tasks FOR EACH ROW
IF OLD.finished_at IS NOT NULL THEN
    {trigger_rules.count_leaving()}
END IF"""
_FOLLOWED = f"""CREATE TRIGGER tasks_followed AFTER UPDATE ON tasks FOR EACH ROW
IF NEW.followers <> 0 THEN
    IF OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL THEN
        {trigger_rules.outbox_of_ended()}
    ELSEIF OLD.finished_at IS NOT NULL AND NEW.finished_at IS NULL THEN
        {trigger_rules.outbox_of_retried()}
    END IF;
END IF"""
_FOLLOWED_DELETED = f"""CREATE TRIGGER tasks_followed_deleted AFTER DELETE ON tasks FOR EACH ROW
IF OLD.followers <> 0 THEN
    {trigger_rules.outbox_of_deleted()}
END IF"""
_END_WANTED = f"""CREATE TRIGGER tasks_end_wanted AFTER UPDATE ON tasks FOR EACH ROW
IF {trigger_rules.END_IS_WANTED} THEN
    {trigger_rules.outbox_of_wanted_end()}
END IF"""
_RETRIED = f"""CREATE TRIGGER task_attempts_retried AFTER INSERT ON task_attempts FOR EACH ROW
IF {IS_TRIED_AGAIN} THEN
    {COUNT_RETRY}
END IF"""
# What a foreign key deletes, no trigger sees: so the tasks of a deleted user are deleted before.
_WITH_USER = """CREATE TRIGGER users_delete_tasks BEFORE DELETE ON users FOR EACH ROW
DELETE FROM tasks WHERE user_id = OLD.id"""

# Refused but to the connection that sets this variable (`app/db/statements/audit.py`).
PRUNES = "@task_service_prunes"
_APPEND_ONLY = _SIGNAL.format("'audit_events is append-only: no {}'")
_NO_UPDATE = f"""CREATE TRIGGER audit_events_no_update BEFORE UPDATE ON audit_events FOR EACH ROW
{_APPEND_ONLY.format("UPDATE")}"""
_NO_DELETE = f"""CREATE TRIGGER audit_events_no_delete BEFORE DELETE ON audit_events FOR EACH ROW
IF {PRUNES} IS NULL THEN
    {_APPEND_ONLY.format("DELETE")};
END IF"""

CREATE: dict[str, tuple[str, ...]] = {
    "users": (_WITH_USER,),
    "tasks": (_GUARD, _INSERTED, _UPDATED, _DELETED, _FOLLOWED, _FOLLOWED_DELETED, _END_WANTED),
    "task_attempts": (_RETRIED,),
    "audit_events": (_NO_UPDATE, _NO_DELETE),
}

NOW = "CURRENT_TIMESTAMP(6)"
# Why a task of `tasks` waits (`app/ddl/engines.py`).
WAITS = trigger_rules.waits(NOW)
