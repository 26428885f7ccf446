"""Files and artifacts, as answers show them."""

from datetime import datetime
from uuid import UUID

from pydantic import ConfigDict, Field

from app.schemas.base import ResponseModel

_ID = "019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d14"
_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


class _Content(ResponseModel):
    id: UUID = Field(description="Its id, which an argument of a task may name.", examples=[_ID])
    name: str = Field(description="Its name.", examples=["orders.csv"])
    size: int = Field(description="Its bytes.", examples=[1048576])
    sha256: str = Field(description="The SHA-256 of its bytes, in hexadecimal digits.", examples=[_SHA256])
    content_type: str = Field(description="Its media type.", examples=["text/csv"])


class FileRead(_Content):
    """A file."""

    model_config = ConfigDict(title="FileRead")

    created_at: datetime = Field(description="When its upload began, in UTC.")
    expires_at: datetime | None = Field(
        description="When it is deleted, unless a pending task or a schedule names it, in UTC. null for an artifact."
    )
    user_id: UUID = Field(description="The owner's id.")


class ArtifactRead(_Content):
    """What the body of a task has saved."""

    attempt: int = Field(description="The attempt that has saved it.", examples=[1])
    created_at: datetime = Field(description="When the body began to save it, in UTC.")
