"""The path of a request as routes have it, whatever stands before it behind a proxy."""

from starlette.types import Scope


def route_path(scope: Scope) -> str:
    """Return the path below the root path, such as `/api/v1/tasks/` of `/svc/api/v1/tasks/`.

    All that compares a path with that of a route asks here. A server that was given the prefix has it in the path
    (ASGI); one that was not leaves the path as it is.
    """
    path: str = scope["path"]
    rest = path.removeprefix(str(scope.get("root_path", "")).rstrip("/"))
    return rest if not rest or rest.startswith("/") else path
