"""Answers of the service, in the form that a command reads. What has another form comes from another server."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from task_service_client.cli import exits
from task_service_client.cli.exits import Refused
from task_service_client.cli.language import t
from task_service_client.cli.values import loads

if TYPE_CHECKING:
    import httpx
    from pydantic import BaseModel

    from task_service_client import Client


def shape(**members: Any) -> "type[BaseModel]":
    """Return the form of an object with these members, of these types; it may have others."""
    from pydantic import create_model

    fields: dict[str, Any] = {name: (kind, ...) for name, kind in members.items()}
    return create_model("Answer", **fields)


def read(answer: "httpx.Response", form: Any) -> Any:
    """Return the JSON of an answer as it came. Raises Refused where it is none, or is not of this form."""
    from pydantic import TypeAdapter

    try:
        TypeAdapter(form).validate_json(answer.content, strict=True)
        return loads(answer.content)
    except ValueError as error:
        said = t("What answers at {url} is not the task service: {reason}", url=answer.request.url, reason=_why(error))
        raise Refused(said, exits.UNREACHABLE) from None


def rows(
    client: "Client", path: str, form: "type[BaseModel]", params: Mapping[str, Any] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the objects of a list of the service, page by page, as the answers have them."""
    for answer in client.pages(path, params):
        yield from read(answer, list[form])  # type: ignore[valid-type]


def _why(error: ValueError) -> str:
    """Return in one line what an answer lacks: pydantic tells it in several."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return ": ".join([*([".".join(map(str, first["loc"]))] if first["loc"] else []), first["msg"]])
