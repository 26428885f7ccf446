"""Renders models directly. FastAPI would validate the response again, for a sync endpoint in a thread."""

from collections.abc import Mapping

from fastapi import Response
from pydantic import BaseModel


def rendered(model: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON response of the model, with the same bytes that FastAPI would write."""
    return Response(
        model.__pydantic_serializer__.to_json(model), status_code=status, headers=headers, media_type="application/json"
    )
