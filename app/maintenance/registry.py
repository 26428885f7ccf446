"""All passes of maintenance. A new one is a module in `app/maintenance/passes/`, and its line here."""

from app.maintenance.passes import (
    bulk,
    due_tasks,
    expired_tasks,
    files,
    forgetting,
    limits,
    lost_attempts,
    outbox,
    requested_deletions,
    retention,
    running_quota,
    schedules,
    sums,
    unknown_tasks,
    wake_ups,
    webhooks,
)
from app.maintenance.rounds import Pass

# In the order of a round: each sees what those before it have committed.
PASSES: tuple[Pass, ...] = (
    lost_attempts.PASS,
    expired_tasks.PASS,
    requested_deletions.PASS,
    # Before the turns: what it makes has them in the same round.
    schedules.FIRE,
    due_tasks.PASS,
    limits.FREE_PLACES,
    running_quota.PASS,
    limits.REPAIR,
    limits.ADMIT,
    unknown_tasks.PASS,
    wake_ups.PASS,
    # No due task waits for these.
    sums.ADD_CHANGES,
    sums.ADD_SUBMISSIONS,
    retention.PASS,
    schedules.REZONE,
    *forgetting.PASSES,
    files.DROP,
    files.DELETE,
    files.FORGET,
    bulk.PASS,
    *outbox.PASSES,
    webhooks.SEND,
    webhooks.FOLLOW,
    webhooks.DROP,
    webhooks.RECOVER,
    webhooks.FORGET,
)
