"""Answers of the service, in the form that a command reads. What has another form comes from another server."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from task_service_client.cli import exits
from task_service_client.cli.exits import Refused
from task_service_client.cli.language import t
from task_service_client.cli.values import loads

if TYPE_CHECKING:
    import httpx
    from pydantic import BaseModel, TypeAdapter

    from task_service_client import Client


def shape(**members: Any) -> "type[BaseModel]":
    """Return the form of an object with these members, of these types; it may have others."""
    from pydantic import create_model

    fields: dict[str, Any] = {name: (kind, ...) for name, kind in members.items()}
    return create_model("Answer", **fields)


def read(answer: "httpx.Response", form: Any) -> Any:
    """Return the JSON of an answer as it came. Raises Refused where it is none, or is not of this form."""
    from pydantic import TypeAdapter

    return _checked(answer, TypeAdapter(form))


def rows(
    client: "Client", path: str, form: "type[BaseModel]", params: Mapping[str, Any] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the objects of a list of the service, page by page, as the answers have them."""
    from pydantic import TypeAdapter

    adapter = TypeAdapter(list[form])  # type: ignore[valid-type]
    for answer in client.pages(path, params):
        yield from _checked(answer, adapter)


def _checked(answer: "httpx.Response", adapter: "TypeAdapter[Any]") -> Any:
    from task_service_client.adapters import valid
    from task_service_client.errors import Unexpected

    try:
        found = loads(answer.content)
        valid(partial(adapter.validate_json, strict=True), adapter.validate_python, answer.content)
    except (ValueError, Unexpected) as error:
        why = getattr(error, "reason", error)
        said = t("What answers at {url} is not the task service: {reason}", url=answer.request.url, reason=why)
        raise Refused(said, exits.UNREACHABLE) from None
    return found
