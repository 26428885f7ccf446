"""Everything under /api/v1."""

from fastapi import FastAPI

from app.api.endpoints import api_keys, audit, auth, events, sessions, tasks, users, webhooks

PREFIX = "/api/v1"
# In the order in which they are tried: what is asked for most comes first, but `events` before the ids of tasks.
ROUTERS = (
    events.router,
    tasks.router,
    auth.router,
    sessions.router,
    api_keys.router,
    users.router,
    webhooks.router,
    audit.router,
)


def add_routes(app: FastAPI) -> None:
    for router in ROUTERS:
        router.add_to(app, PREFIX)
