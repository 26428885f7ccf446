"""All routes under /api/v1."""

from fastapi import APIRouter, FastAPI

from app.api.endpoints import (
    api_keys,
    audit,
    auth,
    bulk,
    errors,
    events,
    limits,
    logs,
    queues,
    sessions,
    stats,
    tasks,
    totp,
    users,
    webhooks,
    workers,
)
from app.api.http.router import SlashRouter

PREFIX = "/api/v1"
# In matching order: the busiest first, but `events` and `bulk` before `tasks`, whose `{task_id}` would match them.
ROUTERS: tuple[APIRouter, ...] = (
    events.router,
    bulk.router,
    logs.router,
    tasks.router,
    auth.router,
    sessions.router,
    api_keys.router,
    users.router,
    totp.router,
    webhooks.router,
    queues.router,
    workers.router,
    limits.router,
    stats.router,
    errors.router,
    audit.router,
)


def add_routes(app: FastAPI) -> None:
    """Add the routes of every router to the application. Any router of FastAPI will do."""
    for router in ROUTERS:
        if isinstance(router, SlashRouter):
            router.add_to(app, PREFIX)
        else:
            app.include_router(router, prefix=PREFIX)
