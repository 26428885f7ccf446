"""Request and response bodies of logins and API keys."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.models.auth import ApiKey, Scope
from app.schemas.base import RequestModel, ResponseModel
from app.schemas.values import Moment, ShortText

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


# -- Request and response bodies of API keys ---------------------------------------------------------------------------

_KEY = "tsk_7Qp2XbL9_" + "0" * 43 + "4eR0xW"
_API_KEY: dict[str, Any] = {
    "id": "019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d11",
    "name": "nightly import",
    "prefix": "tsk_7Qp2XbL9",
    "scopes": ["tasks:read", "tasks:write"],
    "created_at": "2026-11-24T12:00:00Z",
    "expires_at": "2027-11-24T12:00:00Z",
    "last_used_at": None,
    "revoked_at": None,
}

Scopes = Annotated[
    list[Scope],
    Field(
        min_length=1,
        max_length=20,
        description="`tasks:read`: read your tasks. `tasks:write`: create, change, cancel, retry and delete them. "
        "`admin`: manage users; the other scopes then reach the tasks of all users. No scope includes another. Only "
        "administrators can create a key with `admin`.",
        examples=[["tasks:read", "tasks:write"]],
    ),
]


class ApiKeyCreate(RequestModel):
    name: Annotated[ShortText, Field(description="A name of your choice.", examples=["nightly import"])]
    scopes: Scopes
    expires_at: Moment | None = Field(
        None,
        description="The key stops working at this time (RFC 3339 with an offset). Omitted or null: it never expires.",
        examples=["2027-11-24T12:00:00Z"],
    )


class ApiKeyRead(ResponseModel):
    """An API key, without its secret."""

    model_config = ConfigDict(json_schema_extra={"example": _API_KEY})

    id: UUID = Field(description="The key's id, a UUID version 7: ids sort by creation time.")
    name: str = Field(description="The name that you gave the key.")
    prefix: str = Field(description="The first characters of the key, to recognise it.")
    scopes: list[Scope] = Field(description="The scopes of the key.")
    created_at: datetime = Field(description="When the key was created, in UTC.")
    expires_at: datetime | None = Field(description="When the key stops working, in UTC; null: never.")
    last_used_at: datetime | None = Field(
        description="When the key was last used, in UTC, accurate to about a minute; null: never."
    )
    revoked_at: datetime | None = Field(description="When the key was revoked, in UTC; null: not revoked.")


class ApiKeyCreated(ApiKeyRead):
    """A new API key. Only this answer shows `key`: store it now."""

    model_config = ConfigDict(json_schema_extra={"example": {**_API_KEY, "key": _KEY}})

    key: str = Field(
        description="The key itself. Send it as `Authorization: Bearer <key>`. The service cannot show it again."
    )

    @classmethod
    def of(cls, row: ApiKey, key: str) -> "ApiKeyCreated":
        return cls(**ApiKeyRead.model_validate(row).model_dump(), key=key)
