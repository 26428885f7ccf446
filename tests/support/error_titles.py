"""The titles of all errors, which both the API and the pages say in the reader's language."""

from collections.abc import Iterator

from app.api.http.problems import HTTP_PROBLEMS
from app.errors import ServiceError


def error_titles() -> set[str]:
    """Those of the services, of HTTP, and of what nobody foresaw."""
    return {*_titles(ServiceError)} | {title for _, title in HTTP_PROBLEMS.values()} | {"Internal server error"}


def _titles(kind: type[ServiceError]) -> Iterator[str]:
    yield kind.title
    for each in kind.__subclasses__():
        yield from _titles(each)
