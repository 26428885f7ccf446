"""Endpoints of API keys. Only a login manages keys."""

from typing import Annotated
from uuid import UUID

from fastapi import Path, Request, Response, status

from app.api.deps import LoginUser, SessionDep
from app.api.http.paging import LINK_HEADER, Cursor, Limit, Skip, read_cursor
from app.api.http.problems import problems
from app.api.http.rendering import ListRenderer
from app.api.http.router import SlashRouter
from app.errors import AdminOnly, ApiKeyLimit, ApiKeyNotFound, InvalidCursor, LoginOnly
from app.models.api_key import ApiKey
from app.schemas.api_key import ApiKeyCreate, ApiKeyCreated, ApiKeyRead
from app.services.accounts.api_keys import api_key_service

router = SlashRouter(prefix="/auth/api-keys", tags=["auth"])

_KEYS = ListRenderer(ApiKeyRead)
KeyId = Annotated[UUID, Path(description="The key's id.", examples=["019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d11"])]


@router.post(
    "",
    response_model=ApiKeyCreated,
    status_code=status.HTTP_201_CREATED,
    response_description="The new key, which only this answer shows",
    responses=problems(401, LoginOnly, AdminOnly, ApiKeyLimit, 429),
)
def create_api_key(db: SessionDep, user: LoginUser, body: ApiKeyCreate) -> ApiKeyCreated:
    """Create an API key for a program. Store it now: the service keeps a digest and cannot show the key again.

    The key works until it expires or is revoked. Logouts and password changes do not end it. Its rights never exceed
    your own rights at the time of a request. Too many new keys: 429.
    """
    made = api_key_service.create_key(db, user.id, body.name, body.scopes, body.expires_at)
    return ApiKeyCreated.of(made.row, made.key)


@router.get(
    "",
    response_model=list[ApiKeyRead],
    response_description="API keys, newest first",
    responses={200: {"headers": LINK_HEADER}, **problems(401, LoginOnly, InvalidCursor)},
)
def list_api_keys(
    request: Request, db: SessionDep, user: LoginUser, limit: Limit = 50, skip: Skip = 0, cursor: Cursor = None
) -> Response:
    """List your API keys, newest first. The list includes recently revoked and expired keys."""
    page = api_key_service.list_keys(db, user.id, limit=limit, skip=skip, before=read_cursor(cursor))
    return _KEYS.page(request, page, lambda key: key.id)


@router.get(
    "/{key_id}",
    response_model=ApiKeyRead,
    response_description="The key, without its secret",
    responses=problems(401, LoginOnly, ApiKeyNotFound),
)
def get_api_key(db: SessionDep, user: LoginUser, key_id: KeyId) -> ApiKey:
    """Get one of your API keys."""
    return api_key_service.get_key(db, user.id, key_id)


@router.delete(
    "/{key_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    response_description="The key is revoked",
    responses=problems(401, LoginOnly, ApiKeyNotFound),
)
def revoke_api_key(db: SessionDep, user: LoginUser, key_id: KeyId) -> None:
    """Revoke an API key. It stops working at once, and the list shows it as revoked. Repeating this is harmless."""
    api_key_service.revoke_key(db, user.id, key_id)
