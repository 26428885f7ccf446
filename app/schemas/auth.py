"""Logins over HTTP."""

from typing import Literal

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
