"""Logins over HTTP."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.schemas.base import RequestModel

_ACCESS = "eyJhbGciOiJIUzI1NiIsImtpZCI6IjFjMGZmZWUwIiwidHlwIjoiSldUIn0.…"
_REFRESH = "mV0kq6kW9a3o1w2kJt2kqkz6uYB0l8m7yQ1b5c0dE3f"


class TokenPair(BaseModel):
    """What a login, or a refresh, answers (RFC 6749 §5.1)."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "example": {
                "access_token": _ACCESS,
                "refresh_token": _REFRESH,
                "token_type": "bearer",
                "expires_in": 900,
            }
        },
    )

    access_token: str = Field(description="Send it as `Authorization: Bearer …`.")
    refresh_token: str = Field(description="Good for one `POST /auth/refresh`; keep it secret.")
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 (RFC 6749's word for the kind)
    expires_in: int = Field(description="Seconds that the access token is good for.")


class RefreshRequest(RequestModel):
    refresh_token: str = Field(
        min_length=1,
        max_length=512,
        description="The last one that was given out for this login. A used one ends the login.",
        examples=[_REFRESH],
    )


class LoginSessionRead(BaseModel):
    """A login that stands: its access tokens work, and it can be refreshed."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID = Field(description="The login's id.", examples=["019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d11"])
    created_at: datetime = Field(description="When it began.", examples=["2026-11-24T12:00:00Z"])
    refreshed_at: datetime = Field(
        description="When its tokens were last given out.", examples=["2026-11-24T12:15:00Z"]
    )
    expires_at: datetime = Field(description="When it ends, however often it is refreshed.")
    current: bool = Field(description="Whether it is the one that asks.", examples=[True])
