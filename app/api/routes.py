"""All routes: those of each module of `app/api/endpoints/`, below /api/v1."""

from importlib import import_module
from pkgutil import iter_modules

from fastapi import APIRouter, FastAPI

from app.api import endpoints
from app.api.endpoints import docs, operations
from app.api.http.router import SlashRouter, StrictRoute, add_plain

PREFIX = "/api/v1"
# In matching order: the busiest first, but `events` and `bulk` before `tasks`, whose `{task_id}` would match them. The
# others follow by name.
_FIRST = ("events", "bulk", "tasks", "auth")
_AT_THE_ROOT = (operations.router, docs.root_router, docs.router)

_found = sorted(module.name for module in iter_modules(endpoints.__path__))
_ALL = [import_module(f"{endpoints.__name__}.{name}") for name in dict.fromkeys((*_FIRST, *_found))]
_MODULES = [each for each in _ALL if hasattr(each, "router")]
ROUTERS: tuple[APIRouter, ...] = tuple(each.router for each in _MODULES if each.router not in _AT_THE_ROOT)
# One module of each tag describes it.
TAGS = [
    {"name": each.router.tags[0], "description": each.TAG_DESCRIPTION}
    for each in _MODULES
    if hasattr(each, "TAG_DESCRIPTION")
]


def add_routes(app: FastAPI) -> None:
    """Add the routes of every router to the application, those of a plain APIRouter with the same bounds."""
    for router in ROUTERS:
        if isinstance(router, SlashRouter):
            router.add_to(app, PREFIX, StrictRoute)
        else:
            add_plain(router, app, PREFIX, StrictRoute)
    for at_the_root in _AT_THE_ROOT:
        app.include_router(at_the_root)
