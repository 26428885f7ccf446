"""The client of the service: what `task_service_client` has (docs/client.md)."""

try:
    from task_service_client import *  # noqa: F403
    from task_service_client import __all__
except ModuleNotFoundError as error:
    if error.name != "task_service_client":
        raise
    raise ModuleNotFoundError(
        "app.client needs the distribution task-service-client: pip install ./client", name=error.name
    ) from None

__all__ = __all__  # noqa: PLW0127 (it is the client's)
