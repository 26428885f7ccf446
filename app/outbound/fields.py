"""Types for task parameters. They check at submission (422) what the URL alone shows.

The addresses of a name are known, and checked, only when the connection is made, but for those of local names.
"""

from typing import Annotated

from pydantic import AfterValidator, Field

from app.core.config import get_settings
from app.core.validation_errors import validator_error
from app.outbound.client import checked_headers
from app.outbound.errors import InvalidRequest
from app.outbound.targets import MAX_URL_LENGTH, Policy, parse_url


def _checked_url(url: str) -> str:
    try:
        target = parse_url(url)
    except InvalidRequest as error:
        raise validator_error("url_refused", str(error)) from None
    policy, address = Policy.of(get_settings()), target.address
    reason = (
        policy.refusal_of_name(target.host, target.port)
        if address is None
        else policy.refusal(target.host, target.port, address)
    )
    if reason is not None:
        raise validator_error("url_refused", f"it is {reason}")
    return url


def _checked_headers(headers: dict[str, str]) -> dict[str, str]:
    try:
        checked_headers(headers)
    except InvalidRequest as error:
        raise validator_error("headers_refused", str(error)) from None
    return headers


PublicURL = Annotated[
    str,
    Field(
        max_length=MAX_URL_LENGTH,
        description="An http:// or https:// URL of a public address, or of one in OUTBOUND_ALLOW.",
        json_schema_extra={"format": "uri"},
        examples=["https://example.com/data.json"],
    ),
    AfterValidator(_checked_url),
]
RequestHeaders = Annotated[
    dict[str, str],
    Field(
        description="Request headers. The service itself sets those that frame the request (Host, Content-Length, …).",
        examples=[{"Accept": "application/json"}],
    ),
    AfterValidator(_checked_headers),
]
