"""Types for the parameters of tasks: what can be told from the URL alone is told at submission, as 422.

Where a name leads is only known, and only checked, when the connection is made.
"""

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from app.core.config import get_settings
from app.outbound import headers as header_rules
from app.outbound.errors import InvalidRequest
from app.outbound.policy import Policy
from app.outbound.urls import MAX_URL_LENGTH, parse


def _checked_url(url: str) -> str:
    try:
        target = parse(url)
    except InvalidRequest as error:
        raise PydanticCustomError("url_refused", "{why}", {"why": str(error)}) from None
    if target.address is not None:
        why = Policy.of(get_settings()).refusal(target.host, target.port, target.address)
        if why is not None:
            raise PydanticCustomError("url_refused", "it is {why}", {"why": why})
    return url


def _checked_headers(headers: dict[str, str]) -> dict[str, str]:
    try:
        header_rules.checked(headers)
    except InvalidRequest as error:
        raise PydanticCustomError("headers_refused", "{why}", {"why": str(error)}) from None
    return headers


PublicURL = Annotated[
    str,
    Field(
        max_length=MAX_URL_LENGTH,
        description="An http:// or https:// URL that leads to a public address, or to one of OUTBOUND_ALLOW.",
        json_schema_extra={"format": "uri"},
        examples=["https://example.com/data.json"],
    ),
    AfterValidator(_checked_url),
]
RequestHeaders = Annotated[
    dict[str, str],
    Field(
        description="Headers of the request. Those that frame it (Host, Content-Length, …) are set by the service.",
        examples=[{"Accept": "application/json"}],
    ),
    AfterValidator(_checked_headers),
]
