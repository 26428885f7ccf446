"""What the triggers of every engine and the code agree on."""

# Of a task, in the order of `TaskStatus`.
STATES = ("pending", "running", "succeeded", "failed", "revoked")
# What ended tasks are counted under, beside user and status.
KIND = ("task_type", "celery_task_name", "priority", "queue")
# How an attempt ends that is tried again; one of a lost worker may be the last one, too.
TRIED_AGAIN = ("retried", "worker_lost")
# Of an error message, in the row of a change.
MESSAGE_CHARACTERS = 500
# What holds a task and is shown as the reason why it waits.
SHOWN_HOLDS = ("dependency", "limit", "limit_key", "user")
# Of the outbox: each has a bit of `tasks.followers`.
MOST_CONSUMERS = 8
# The name under which the places of users stand; their key is the user's id. No limit can have this name.
USER_LIMIT = "@user"

_COUNTED_UNDER = ", ".join(("user_id", "status", *KIND))
# Of an attempt in `task_attempts`, for its trigger: a change of no number, by which maintenance counts the retry. A
# success has no attempt there, so a task that is not retried pays nothing. That it is pending is asked by a column
# which no partial index names: PostgreSQL would take one for the shorter way to the row.
COUNT_RETRY = f"""INSERT INTO task_count_changes ({_COUNTED_UNDER}, number, bytes)
    SELECT {_COUNTED_UNDER}, 0, 0 FROM tasks WHERE id = NEW.task_id AND due_at IS NOT NULL;"""  # noqa: S608 (constants)  # nosec B608
IS_TRIED_AGAIN = f"NEW.outcome IN ({', '.join(map(repr, TRIED_AGAIN))})"
