"""The bytes that a task takes, as quotas and retention count them: an expression over a row of `tasks`.

`octet_length()` of a large text reads its size from the row, and not the text itself. It is the size before PostgreSQL
compresses the text. What the expression reads of an ended task changes only together with its `attached_bytes`: so the
same bytes are added when a task ends and taken away when it is deleted.
"""

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

_VALUES = ("args", "kwargs", "progress_detail", "result", "error_message")


def task_bytes(row: str) -> str:
    """SQL for the bytes of a task. `row` is the name or alias of a row of `tasks`."""
    values = " + ".join(f"coalesce(octet_length({row}.{name}), 0)" for name in _VALUES)
    return f"{ROW_BYTES} + {row}.attached_bytes + {values}"
