"""Accounts, logins and tokens of the tiny service."""

import base64
import re
import secrets
import time
import uuid
from collections import Counter
from typing import Any
from urllib.parse import parse_qs

import pyotp
from jose import JWTError, jwt

from tests.support.weak_service.answers import Problem, Reply
from tests.support.weak_service.keys import Keys

SHAPE = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)
API = "/api/v1"
ATTEMPTS = 10
MIN_PASSWORD = 15
GUESSED = re.compile(r"(\D+)\1+|\d+|qwerty.*")
CHANGES = 50
MAX_REGISTRATION = 16 * 1024
PUBLIC = ("id", "username", "email", "role")


# What administrators alone reach, and the check of that.
ADMINISTRATORS = {
    "/audit": "audit_is_for_administrators",
    "/queues": "queues_and_workers_are_steered_by_administrators",
    "/workers": "queues_and_workers_are_steered_by_administrators",
}


class Accounts:
    def __init__(self, weak: str) -> None:
        self.weak = weak
        self.key = "secret" if weak == "guessable_key" else secrets.token_hex(32)
        self.users: dict[str, dict[str, Any]] = {}
        self.keys = Keys(weak)
        self.sessions: dict[str, str] = {}
        self.refresh: dict[str, tuple[str, str]] = {}
        self.used: dict[str, str] = {}
        self.failures: Counter[str] = Counter()
        self.changes: Counter[str] = Counter()

    def answer(self, call: Any) -> Reply | None:
        """None for a path of another part."""
        path = call.path.removeprefix(API)
        public = {"/auth/register": self._register, "/auth/login": self.login, "/auth/refresh": self._refresh}
        if path in public and call.method == "POST":
            return public[path](call)
        if not path.startswith(("/users", "/auth", "/tasks", "/audit", "/queues", "/workers")):
            raise Problem(404, "not_found", call.path)
        if path.startswith("/users/") and path != "/users/me" and self.weak == "anonymous_administration":
            return Reply(200, {})
        call.user = self._who(call)
        self.keys.check(call, path)
        if path == "/auth/logout":
            if self.weak != "logout_ends_the_login":
                self.sessions.pop(call.user["sid"], None)
            return Reply(204, None)
        if path.startswith(("/auth/api-keys", "/auth/sessions")):
            return self.keys.answer(call, path, self.sessions)
        if path.startswith(tuple(ADMINISTRATORS)):
            return self._for_administrators(path)
        return self._users(call, path) if path.startswith("/users") else None

    def _for_administrators(self, path: str) -> Reply:
        if self.weak != next(weak for part, weak in ADMINISTRATORS.items() if path.startswith(part)):
            raise Problem(403, "admin_only")
        return Reply(200, [])

    # -- users -------------------------------------------------------------------------------------------------------

    def _new(self, body: dict[str, Any], allowed: tuple[str, ...]) -> Reply:
        if not all(isinstance(body.get(name), str) for name in ("username", "email", "password")):
            raise Problem(422, "validation_error", repr(body))
        if set(body) - {"username", "email", "password", *allowed}:
            raise Problem(422, "validation_error")
        user = {"id": str(uuid.uuid4()), "role": "user", **body}
        self.users[user["id"]] = user
        return Reply(201, self._shown(user))

    def _shown(self, user: dict[str, Any]) -> dict[str, Any]:
        hashed = {"password_hash": "$argon2id$"} if self.weak == "password_hash" else {}
        return {**{name: user[name] for name in PUBLIC}, **hashed}

    def _register(self, call: Any) -> Reply:
        if len(call.body) > MAX_REGISTRATION and self.weak != "large_registrations":
            raise Problem(413, "body_too_large")
        if self.weak == "many_unknown_fields" and len(call.json()) > ATTEMPTS:
            return Reply(422, {"errors": [{"loc": ["body", name], "msg": "not permitted"} for name in call.json()]})
        return self._new(call.json(), ("role",) if self.weak == "role_at_registration" else ())

    def _users(self, call: Any, path: str) -> Reply:
        if path == "/users/me":
            return self._me(call)
        if path == "/users/me/password":
            return self._password(call)
        if path.startswith("/users/me/totp"):
            return self._totp(call, path)
        claims = self.weak == "claimed_role" and call.headers.get("X-Role") == "admin"
        if call.user["role"] != "admin" and not claims and self.weak != "user_administration":
            raise Problem(403, "admin_only")
        return Reply(200, [])

    def _me(self, call: Any) -> Reply:
        user = self.users[call.user["sub"]]
        if call.method == "PATCH":
            body = call.json()
            if not body.keys() <= {"email"} and self.weak != "own_role":
                raise Problem(422, "validation_error")
            self.changes[user["id"]] += 1
            if self.changes[user["id"]] > CHANGES and self.weak != "probed_addresses":
                raise Problem(429, "too_many_requests", retry_after=60)
            user.update(body)
        return Reply(200, self._shown(user))

    def _password(self, call: Any) -> Reply:
        body = call.json()
        new, user = body["new_password"], self.users[call.user["sub"]]
        if len(new) < MIN_PASSWORD and self.weak != "short_password":
            raise Problem(422, "weak_password")
        easy = GUESSED.fullmatch(new) or new.rstrip("1") in {user["username"].rstrip("1"), user["email"]}
        if easy and self.weak != "common_password":
            raise Problem(422, "weak_password")
        locked = self.failures[user["username"]] >= ATTEMPTS
        if locked and self.weak == "guesses_and_the_users_password":
            raise Problem(429, "too_many_requests", retry_after=60)
        known = body["current_password"] == user["password"]
        if not known and self.weak != "password_change_needs_the_old_one":
            raise Problem(403, "wrong_password")
        return Reply(204, None)

    def _totp(self, call: Any, path: str) -> Reply:
        user, body = self.users[call.user["sub"]], call.json()
        if not path.endswith("/confirm"):
            if body["current_password"] != user["password"]:
                raise Problem(403, "wrong_password")
            user["pending"] = pyotp.random_base32()
            return Reply(201, {"secret": user["pending"], "uri": "otpauth://totp/x"})
        if body["otp"] != pyotp.TOTP(user["pending"]).now():
            raise Problem(403, "wrong_otp")
        user["codes"] = {secrets.token_hex(15) for _ in range(10)}
        return Reply(200, {"recovery_codes": [*user["codes"]]})

    # -- logins ------------------------------------------------------------------------------------------------------

    def login(self, call: Any) -> Reply:
        """Tokens for the form. Raises Problem."""
        form = parse_qs(call.body.decode(), keep_blank_values=True)
        name, password = form.get("username", [""])[0], form.get("password", [""])[0]
        if "\0" in name + password and self.weak != "nul_characters":
            raise Problem(422, "validation_error")
        key = call.headers.get("X-Forwarded-For", name) if self.weak == "throttled_logins" else name
        if self.failures[key] >= ATTEMPTS:
            raise Problem(429, "too_many_requests", retry_after=60)
        user = next((user for user in self.users.values() if user["username"] == name), None)
        injected = self.weak == "sql_in_login" and "'" in name
        if injected:
            user = next(iter(self.users.values()))
        elif user is None or user["password"] != password:
            self.failures[key] += 1
            told = "no_such_user" if user is None and self.weak == "same_answer_for_unknown_users" else "wrong"
            raise Problem(401, told)
        if "codes" in user and self.weak != "second_factor":
            otp = form.get("otp", [""])[0]
            if otp not in user["codes"]:
                raise Problem(401, "second_factor_required")
            user["codes"].remove(otp)
        return self._tokens(user["id"], secrets.token_hex(8))

    def _tokens(self, user_id: str, sid: str) -> Reply:
        self.sessions[sid] = user_id
        claims = {"sub": user_id, "sid": sid, "exp": int(time.time()) + 900}
        token, refresh = jwt.encode(claims, self.key), secrets.token_urlsafe(32)
        self.refresh[refresh] = (user_id, sid)
        return Reply(200, {"access_token": token, "refresh_token": refresh, "token_type": "bearer", "expires_in": 900})

    def _refresh(self, call: Any) -> Reply:
        token = call.json()["refresh_token"]
        if self.weak == "access_as_refresh" and "." in token:
            return self._tokens(jwt.get_unverified_claims(token)["sub"], secrets.token_hex(8))
        if token in self.used:
            self.sessions.pop(self.used[token], None)
        if token not in self.refresh or self.refresh[token][1] not in self.sessions:
            raise Problem(401, "invalid_token")
        user_id, sid = self.refresh[token]
        if self.weak != "replayed_refresh_token":
            del self.refresh[token]
            self.used[token] = sid
        return self._tokens(user_id, sid)

    # -- tokens ------------------------------------------------------------------------------------------------------

    def _who(self, call: Any) -> dict[str, Any]:
        scheme, _, token = call.headers.get("Authorization", "").partition(" ")
        if self.weak == "token_in_the_query" and "token" in call.query:
            scheme, token = "Bearer", call.one("token")
        if self.weak == "token_in_a_cookie" and "Cookie" in call.headers:
            scheme, token = "Bearer", re.split("[=;]", call.headers["Cookie"])[1]
        if self.weak == "no_token" and not scheme:
            return {"sub": next(iter(self.users)), "sid": "", "role": "user"}
        if scheme != "Bearer" and self.weak != "wrong_scheme":
            raise Problem(401, "not_authenticated", token)
        by_key = token.startswith("tsk_")
        claims = self.keys.claims(token) if by_key else self._claims(token)
        user = self.users.get(claims["sub"])
        if user is None or not (by_key or claims["sid"] in self.sessions):
            raise Problem(401, "invalid_token")
        return {**claims, "role": user["role"]}

    def _claims(self, token: str) -> dict[str, Any]:
        if self.weak == "refresh_as_access" and token in self.refresh:
            return dict(zip(("sub", "sid"), self.refresh[token], strict=True))
        if self.weak in {"malformed_token", "deep_header"} and (len(token) > 1000) == (self.weak == "deep_header"):
            jwt.get_unverified_header(token)  # before its shape was looked at
        if not (SHAPE.fullmatch(token) or self._trusts_unsigned(token)) or len(token) > 4096:
            raise Problem(401, "invalid_token", token)
        if self.weak == "swapped_payload" or self._trusts_unsigned(token):
            return jwt.get_unverified_claims(token)
        try:
            return jwt.decode(token, self._key_of(token), algorithms="HS256")
        except (JWTError, RecursionError) as error:
            raise Problem(401, "invalid_token", token) from error

    def _trusts_unsigned(self, token: str) -> bool:
        if self.weak == "stripped_signature":
            return token.count(".") == 2 and token.endswith(".")
        return self.weak == "algorithm_none" and jwt.get_unverified_header(token)["alg"] == "none"

    def _key_of(self, token: str) -> str:
        header = jwt.get_unverified_header(token) if self.weak == "key_in_the_header" else {}
        return base64.urlsafe_b64decode(header["jwk"]["k"] + "==").decode() if "jwk" in header else self.key
