"""Everything under /api/v1."""

from fastapi import APIRouter

from app.api.endpoints import api_keys, audit, auth, events, sessions, tasks, users, webhooks

api_router = APIRouter(prefix="/api/v1", redirect_slashes=False)
api_router.include_router(auth.router)
api_router.include_router(sessions.router)
api_router.include_router(api_keys.router)
api_router.include_router(users.router)
api_router.include_router(webhooks.router)
api_router.include_router(events.router)  # before the tasks: `events` is no task's id
api_router.include_router(tasks.router)
api_router.include_router(audit.router)
