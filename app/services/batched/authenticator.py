"""Authenticates tokens for async callers: tokens that arrive together are looked up in one statement.

Database results are not cached: a revocation takes effect at its commit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from app.core import security
from app.core.batcher import Batcher
from app.core.fair_threads import FairThreads
from app.core.origin import address_block
from app.db.session import SessionLocal, group_engine
from app.errors import InvalidToken
from app.services.accounts import api_keys, sessions
from app.services.accounts.api_keys import LiveKey
from app.services.accounts.auth_service import Principal, auth_service
from app.services.accounts.sessions import LiveSession


@dataclass(frozen=True, slots=True)
class _Digest:
    """The digest of an API key."""

    value: bytes


Proof = security.AccessClaims | _Digest
"""A token whose signature or checksum is right, and which had not expired when it was read."""


class Authenticator:
    """Authenticates tokens. One for each event loop."""

    def __init__(self, threads: FairThreads) -> None:
        self._threads = threads
        self.batcher: Batcher[Proof, LiveSession | LiveKey | None] = Batcher(_look_up, "authenticator", threads.prompt)

    async def authenticate(self, proof: Proof, address: str, *, again: bool = False) -> Principal:
        """Return the user behind this access token, API key or cookie of the pages. `address` is the client's.

        `again`: the same request has been authenticated before. The use of its key is noted already, and an access
        token may have expired since, but its login must not have ended. Raises InvalidToken, TooManyWaiting,
        Overloaded.
        """
        if again and isinstance(proof, security.AccessClaims):
            proof = replace(proof, expires_at=datetime.max.replace(tzinfo=UTC))
        # Anybody can make up API keys, so those take turns by address. Nobody can make up a signed token.
        user = proof.user_id if isinstance(proof, security.AccessClaims) else address_block(address)
        found = await self.batcher.submit(proof, user)
        if isinstance(found, LiveSession) and isinstance(proof, security.AccessClaims):
            return Principal.of_session(found, proof.session_id)
        if not isinstance(found, LiveKey):
            raise InvalidToken
        if found.use_is_stale and not again:  # a request that is asked again may hold the only thread
            # In the caller's context: the audit records where the key was used.
            await self._threads.run(found.user_id, partial(_note_use, found))
            # It may have waited for the thread: rights are those of now.
            return await self.authenticate(proof, address, again=True)
        return Principal.of_key(found)

    async def close(self) -> None:
        """Return when all accepted tokens are authenticated."""
        await self.batcher.close()


def login_claims(token: str) -> security.AccessClaims | None:
    """Return the claims of an access token, None for a well-formed API key. Asks no database.

    Raises InvalidToken for a wrong signature or checksum.
    """
    if not security.looks_like_api_key(token):
        return security.read_access_token(token)
    if not security.is_well_formed_api_key(token):
        raise InvalidToken
    return None


def proof_of(token: str) -> Proof:
    """Return what an access token or an API key proves. Raises InvalidToken."""
    claims = login_claims(token)
    return _Digest(security.api_key_digest(token)) if claims is None else claims


def _look_up(proofs: list[Proof]) -> Sequence[LiveSession | LiveKey | None]:
    """Look up all tokens: one round trip for the logins, and one for the API keys if there are any."""
    ids = {proof.session_id for proof in proofs if isinstance(proof, security.AccessClaims)}
    digests = {proof.value for proof in proofs if isinstance(proof, _Digest)}
    with group_engine().connect() as connection:
        live = sessions.live_sessions(connection, ids) if ids else {}
        keys = api_keys.live_keys(connection, digests) if digests else {}

    def found(proof: Proof) -> LiveSession | LiveKey | None:
        if isinstance(proof, _Digest):
            return keys.get(proof.value)
        session = live.get(proof.session_id)
        return session if sessions.is_sessions_token(session, proof) else None

    return [found(proof) for proof in proofs]


def _note_use(key: LiveKey) -> None:
    with SessionLocal() as db:
        auth_service.note_use(db, key)
