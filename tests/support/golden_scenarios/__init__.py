"""What the service does, by area: each scenario's statements stand in a file of its name in `tests/integration/golden/`."""

from tests.support.golden_scenarios import accounts, changing, lists, many, operating, running, submitting, upkeep
from tests.support.golden_scenarios.stage import Scenario

_ALONE = {
    "attempts": changing.attempts,
    "beat": upkeep.beat,
    "bulk": many.bulk,
    "cancels": changing.cancels,
    "counts": lists.counts,
    "deletions": changing.deletions,
    "edits": changing.edits,
    "ends_from_outside": changing.ends,
    "folding": upkeep.folding,
    "grants": operating.grants,
    "live": many.live,
    "maintenance": upkeep.passes_over_tasks,
    "pages": lists.pages,
    "places_of_limits": upkeep.places_of_limits,
    "places_of_users": upkeep.places_of_users,
    "retries": changing.retries,
    "worker_agent": running.agent,
    "worker_claims": running.claims,
    "worker_ends": running.ends,
}
_BY_API = {
    "api_keys": accounts.api_keys,
    "audit": accounts.audit,
    "errors": operating.errors,
    "idempotency": submitting.idempotency_keys,
    "limits": operating.limits,
    "limits_of_submits": submitting.limits_of_submits,
    "logins": accounts.logins,
    "logs": running.logs,
    "queues_and_workers": operating.queues_and_workers,
    "second_factors": accounts.second_factors,
    "stats": operating.stats,
    "submits": submitting.submits,
    "unique_keys": submitting.unique_keys_taken,
    "users": accounts.users,
}
_WEBHOOKS = {"WEBHOOK_SECRET": "whsec_" + "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0ISE="}

SCENARIOS = {
    **{name: Scenario(play) for name, play in _ALONE.items()},
    **{name: Scenario(play, api=True) for name, play in _BY_API.items()},
    "retention": Scenario(upkeep.retention, settings={"RETENTION_BYTES": "1"}),
    "start": Scenario(operating.start, settings=operating.FIRST_ADMIN | operating.KEYS),
    "webhooks": Scenario(running.webhooks, settings=_WEBHOOKS),
}
