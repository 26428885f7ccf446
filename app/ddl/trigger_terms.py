"""What the triggers of every engine and the code agree on."""

# Of a task, in the order of `TaskStatus`.
STATES = ("pending", "running", "succeeded", "failed", "revoked")
# What ended tasks are counted under, beside user and status.
KIND = ("task_type", "celery_task_name", "priority", "queue")
# Of an error message, in the row of a change.
MESSAGE_CHARACTERS = 500
# What holds a task and is shown as the reason why it waits.
SHOWN_HOLDS = ("limit", "limit_key", "user")
# Of the outbox: each has a bit of `tasks.followers`.
MOST_CONSUMERS = 8
# The name under which the places of users stand; their key is the user's id. No limit can have this name.
USER_LIMIT = "@user"
