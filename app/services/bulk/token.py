"""The token of a preview: it binds the user, the deed, the selection and the time.

It is stored nowhere. The service encrypts it with SECRET_KEY, so that nobody can make or change one. Whoever sends it
twice names the same deed, because its id is in it.
"""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from app.core.json_text import dump_json
from app.core.security import Undecryptable, decrypt, encrypt
from app.errors import TokenExpired
from app.models.bulk import Deed, pack_ids, unpack_ids

LIFETIME = timedelta(minutes=10)


@dataclass(frozen=True)
class Token:
    """What a preview has shown: one of `filter` and `ids`, at the database's time `at`. `id` is that of the deed."""

    id: UUID
    deed: Deed
    at: datetime
    filter: dict[str, Any] | None
    ids: Sequence[UUID] | None


def seal(token: Token, user_id: UUID, keys: Sequence[str]) -> str:
    """Return the token as text. The first of the keys encrypts it."""
    ids = None if token.ids is None else base64.b64encode(pack_ids(token.ids)).decode()
    content = dump_json([str(token.id), token.deed.value, token.at.isoformat(), token.filter, ids])
    return base64.urlsafe_b64encode(encrypt(content.encode(), keys, _context(user_id))).decode().rstrip("=")


def unseal(text: str, user_id: UUID, keys: Sequence[str], now: datetime) -> Token:
    """Return the token of such a text. Raises TokenExpired if it is too old, or was not made for this user."""
    try:
        sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        content = json.loads(decrypt(sealed, keys, _context(user_id)).plain)
    except (Undecryptable, binascii.Error, ValueError):
        raise TokenExpired from None
    deed_id, deed, at, wanted, ids = content
    token = Token(
        UUID(deed_id),
        Deed(deed),
        datetime.fromisoformat(at),
        wanted,
        None if ids is None else unpack_ids(base64.b64decode(ids)),
    )
    if now - token.at > LIFETIME:
        raise TokenExpired
    return token


def _context(user_id: UUID) -> str:
    return f"token of a bulk deed of user {user_id}"
