"""What the triggers of every engine and the code agree on: names, and the bytes that a task takes."""

# Of a task, in the order of `TaskStatus`.
STATES = ("pending", "running", "succeeded", "failed", "revoked")
# What ended tasks are counted under, beside user and status.
KIND = ("task_type", "celery_task_name", "priority", "queue")
# How an attempt ends that is tried again; one of a lost worker may be the last one, too.
TRIED_AGAIN = ("retried", "worker_lost")
# Of an error message, in the row of a change.
MESSAGE_CHARACTERS = 500
# What holds a task and is not the reason why it waits: workers come and go. All else is, by words of any version.
HIDDEN_HOLD = "name"
# Of the outbox: each has a bit of `tasks.followers`.
MOST_CONSUMERS = 8
# Further bits, of ends alone: consumer 0, that of webhooks, is told of a task that ends so. It wants no other event.
BIT_OF_END = {"succeeded": 1 << 8, "failed": 1 << 9, "revoked": 1 << 10}
# The name under which the places of users stand; their key is the user's id. No limit can have this name.
USER_LIMIT = "@user"

_COUNTED_UNDER = ", ".join(("user_id", "status", *KIND))
# Of an attempt in `task_attempts`, for its trigger: a change of no number, by which maintenance counts the retry. A
# success has no attempt there, so a task that is not retried pays nothing. That it is pending is asked by a column
# which no partial index names: PostgreSQL would take one for the shorter way to the row.
COUNT_RETRY = f"""INSERT INTO task_count_changes ({_COUNTED_UNDER}, number, bytes)
    SELECT {_COUNTED_UNDER}, 0, 0 FROM tasks WHERE id = NEW.task_id AND due_at IS NOT NULL;"""  # noqa: S608 (constants)  # nosec B608
IS_TRIED_AGAIN = f"NEW.outcome IN ({', '.join(map(repr, TRIED_AGAIN))})"


# -- The bytes that a task takes, as quotas and retention count them: an expression over a row of `tasks` --------------
# `octet_length()` of a large text reads its size from the row, and not the text itself. It is the size before
# PostgreSQL compresses the text. What the expression reads of an ended task changes only together with its
# `attached_bytes`: so the same bytes are added when a task ends and taken away when it is deleted.

# A row without its large values, its entries in all indexes, and what its updates leave behind: measured as 950 bytes
# for 20,000 tasks that were created, claimed and ended, and as 630 for rows that were inserted as ended ones.
ROW_BYTES = 1024
# The row of an attempt in `task_attempts`, without its texts.
ATTEMPT_BYTES = 256
# A line in `task_logs`, with its entry in the index and without its texts.
LOG_LINE_BYTES = 128
# A row of `task_steps`, with its entries in both indexes and without its texts.
STEP_BYTES = 256
# A row of `task_output`, with its entry in the index and without its texts.
OUTPUT_ROW_BYTES = 128
# The kind of `stored_bytes` that holds the sum over a user's ended tasks.
ENDED_TASKS = "ended_tasks"

_SIZED_VALUES = ("args", "kwargs", "progress_detail", "result", "error_message")


def task_bytes(row: str) -> str:
    """Return SQL for the bytes of a task. `row` is the name or alias of a row of `tasks`."""
    values = " + ".join(f"coalesce(octet_length({row}.{name}), 0)" for name in _SIZED_VALUES)
    return f"{ROW_BYTES} + {row}.attached_bytes + {values}"
