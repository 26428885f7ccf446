"""Request and response bodies of logins."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.schemas.base import RequestModel, ResponseModel

_ACCESS = "eyJhbGciOiJIUzI1NiIsImtpZCI6IjFjMGZmZWUwIiwidHlwIjoiSldUIn0.…"
_REFRESH = "mV0kq6kW9a3o1w2kJt2kqkz6uYB0l8m7yQ1b5c0dE3f"


class LoginForm(BaseModel):
    """The form of OAuth2's password grant (RFC 6749 §4.3.2). Other fields, such as `client_id`, are ignored."""

    username: str = Field(description="The username or the e-mail address.", examples=["anna"])
    password: str = Field(
        description="The password.", examples=["correct horse battery staple"], json_schema_extra={"format": "password"}
    )
    otp: str = Field(
        "",
        max_length=64,
        description="A code of the authenticator or a recovery code, where the account has a second factor.",
        examples=["492039"],
    )
    grant_type: Annotated[str, Field(pattern="^(password)?$")] | None = Field(
        None, description="`password`, empty or omitted.", examples=["password"]
    )
    scope: str = Field("", description="Ignored: a login has all rights of its user.")


class TokenPair(ResponseModel):
    """The tokens of a login (RFC 6749 §5.1)."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"access_token": _ACCESS, "refresh_token": _REFRESH, "token_type": "bearer", "expires_in": 900}
        }
    )

    access_token: str = Field(description="Send it as `Authorization: Bearer <token>`.")
    refresh_token: str = Field(description="Exchange it once with `POST /auth/refresh`. Keep it secret.")
    token_type: Annotated[Literal["bearer"], Field(description="Always `bearer`.")] = "bearer"  # noqa: S105 (a kind)
    expires_in: int = Field(description="The lifetime of the access token, in seconds.")


class RefreshRequest(RequestModel):
    """The refresh token to exchange."""

    refresh_token: str = Field(
        min_length=1,
        max_length=512,
        description="The newest refresh token of the login. A used one ends the login.",
        examples=[_REFRESH],
    )


class LoginSessionRead(ResponseModel):
    """An open login: its access tokens work, and it can be refreshed."""

    id: UUID = Field(description="The login's id.", examples=["019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d11"])
    created_at: datetime = Field(description="When the login began, in UTC.", examples=["2026-11-24T12:00:00Z"])
    refreshed_at: datetime = Field(
        description="When the login last received tokens, in UTC.", examples=["2026-11-24T12:15:00Z"]
    )
    expires_at: datetime = Field(
        description="When the login ends, in UTC. Refreshing does not extend it.", examples=["2026-12-24T12:00:00Z"]
    )
    address: str | None = Field(
        description="The address that it was opened from, as the server saw it; null where none is known.",
        examples=["192.0.2.7"],
    )
    user_agent: str | None = Field(
        description="What the client called itself then (`User-Agent`), its first 256 characters; null: nothing.",
        examples=["Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"],
    )
    current: bool = Field(description="Whether this request uses this login.", examples=[True])
