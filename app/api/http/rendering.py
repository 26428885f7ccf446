"""An answer that is rendered here and now. FastAPI would validate it once more, for a sync endpoint in a thread."""

from collections.abc import Mapping

from fastapi import Response
from pydantic import BaseModel


def rendered(model: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """The model as JSON, as FastAPI would write it."""
    return Response(
        model.__pydantic_serializer__.to_json(model), status_code=status, headers=headers, media_type="application/json"
    )
