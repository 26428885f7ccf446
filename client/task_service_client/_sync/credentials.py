"""What a request is signed in with: an API key, or the tokens of a login, which are renewed as they expire."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from task_service_client import profiles
from task_service_client._pair import Turns, as_a_whole, in_thread, sleep
from task_service_client.base import CREDENTIAL
from task_service_client.errors import ApiError, NotSignedIn, Unreachable
from task_service_client.requests import Deadline, normalised

# Sends a request without credentials, once if its answer is lost, and returns the tokens of the answer.
Send = Callable[[str, dict[str, Any]], Any]
UNAUTHORIZED = 401
LOCK_SECONDS, LOCK_POLL_SECONDS = 120.0, 0.05
KEY = re.compile(CREDENTIAL)
LOGIN, REFRESH = "/api/v1/auth/login", "/api/v1/auth/refresh"


class Credentials:
    """None of them: each request that needs some is refused."""

    def token(self, send: Send) -> str | None:
        """Return what goes into `Authorization`; None for a request without it."""
        return None

    def renew(self, send: Send, rejected: str | None) -> bool:
        """Say whether there is another token than this one, which the server has refused. Raises NotSignedIn."""
        return False


class ApiKey(Credentials):
    """An API key, which nothing renews."""

    def __init__(self, key: str) -> None:
        self._key = key.strip()
        if not KEY.fullmatch(self._key):
            raise ValueError("the API key holds characters that no key has: copy it again")

    def token(self, send: Send) -> str | None:
        return self._key


class Login(Credentials):
    """A login by password, whose tokens are in memory."""

    def __init__(self, username: str, password: str, otp: str | None = None) -> None:
        self._form = {"username": username, "password": password, **({"otp": otp} if otp else {})}
        self._access: str | None = None
        self._refresh: str | None = None
        self._turns = Turns()

    def token(self, send: Send) -> str | None:
        if self._access is None:
            self.renew(send, None)
        return self._access

    def renew(self, send: Send, rejected: str | None) -> bool:
        with self._turns:
            if self._access == rejected:
                self._take(self._tokens(send))
        return True

    def _tokens(self, send: Send) -> Any:
        if self._refresh is not None:
            # A refresh token that is sent twice ends its login.
            refresh, self._refresh = self._refresh, None
            try:
                return send(REFRESH, {"json": {"refresh_token": refresh}})
            except NotSignedIn:
                pass
        return send(LOGIN, {"data": self._form})

    def _take(self, tokens: Any) -> None:
        self._access, self._refresh = tokens["access_token"], tokens["refresh_token"]


class StoredLogin(Credentials):
    """The login of a profile, which all processes of the user share."""

    def __init__(self, profile: profiles.Profile) -> None:
        self._profile = profile
        self._turns = Turns()

    def token(self, send: Send) -> str | None:
        return self._profile.access_token

    def renew(self, send: Send, rejected: str | None) -> bool:
        # The server has used a refresh token up before its successor is saved.
        as_a_whole(lambda: self._renew_in_turn(send, rejected))
        return True

    def _renew_in_turn(self, send: Send, rejected: str | None) -> None:
        with self._turns:
            if self._profile.access_token == rejected:
                with _locked(self._profile.name):
                    self._renew(send, rejected)

    def _renew(self, send: Send, rejected: str | None) -> None:
        kept = in_thread(lambda: profiles.load(self._profile.name))
        if kept is None or kept.url != self._profile.url or kept.refresh_token is None:
            raise _ended()
        if kept.access_token == rejected:  # else another process has renewed it
            try:
                tokens = send(REFRESH, {"json": {"refresh_token": kept.refresh_token}})
            except ApiError as error:
                if error.status != UNAUTHORIZED:
                    raise
                raise _ended() from None
            kept = replace(kept, access_token=tokens["access_token"], refresh_token=tokens["refresh_token"])
            renewed = kept
            kept = in_thread(lambda: profiles.save(renewed))
        self._profile = kept


def credentials_of(url: str, api_key: str | None, username: str | None, password: str | None) -> Credentials:
    """Return what is given, else the API key of TASK_SERVICE_API_KEY, else the profile's, if it is of this server.

    An empty API key is none of them.
    """
    if api_key is not None:
        return ApiKey(api_key) if api_key else Credentials()
    if username is not None or password is not None:
        if username is None or password is None:
            raise ValueError("a login needs both username and password")
        return Login(username, password)
    if key := os.environ.get("TASK_SERVICE_API_KEY"):
        return ApiKey(key)
    profile = profiles.load()
    if profile is None or normalised(profile.url) != url:
        return Credentials()
    return StoredLogin(profile) if profile.api_key is None else ApiKey(profile.api_key)


def _ended() -> NotSignedIn:
    problem = {"code": "not_authenticated", "detail": "the login has ended: log in again"}
    return NotSignedIn(UNAUTHORIZED, problem, None)


@contextmanager
def _locked(name: str) -> Iterator[None]:
    """Hold the lock of a profile. Raises Unreachable where another process does not let go of it."""
    deadline = Deadline(LOCK_SECONDS)
    with profiles.lock_of(name) as lock:
        while not lock.take():
            if deadline.left() <= 0:
                raise Unreachable(f"another process holds the login of the profile {name} for too long")
            sleep(LOCK_POLL_SECONDS)
        yield
