"""API keys and logins of the tiny service."""

import re
import secrets
import uuid
from typing import Any

from tests.support.weak_service.answers import Problem, Reply

LOGIN_ONLY = re.compile(r"/auth/(api-keys|sessions)|/users/me/(password|totp)")


class Keys:
    """`claims(token)` of a call with a key; `answer(call, path, sessions)` for the routes that manage keys and logins."""

    def __init__(self, weak: str) -> None:
        self.weak = weak
        self.keys: dict[str, dict[str, Any]] = {}

    def claims(self, token: str) -> dict[str, Any]:
        """What the key says. Raises Problem."""
        wanted = token[:20] if self.weak == "mangled_key" else token
        for made in self.keys.values():
            known = made["key"][: len(wanted)] if self.weak == "mangled_key" else made["key"]
            if known == wanted and not made["revoked"]:
                return {"sub": made["user_id"], "sid": None, "scopes": made["scopes"]}
        raise Problem(401, "invalid_token")

    def check(self, call: Any, path: str) -> None:
        """Refuse what the key's scopes do not hold."""
        scopes = call.user.get("scopes")
        if scopes is None:
            return
        login_only = LOGIN_ONLY.match(path) or (path == "/users/me" and call.method == "PATCH")
        if login_only and self.weak != "key_manages_nothing":
            raise Problem(403, "login_only")
        needed = "tasks:read" if call.method == "GET" else "tasks:write"
        if path.startswith("/tasks") and needed not in scopes and self.weak != "key_scopes":
            raise Problem(403, "insufficient_scope")

    def answer(self, call: Any, path: str, sessions: dict[str, str]) -> Reply:
        _, _, kind, *rest = path.split("/")
        if kind == "sessions":
            return self._sessions(call, sessions)
        if call.method == "POST":
            return self._create(call)
        if not rest:
            return Reply(200, [self._shown(made) for made in self.keys.values() if self._is_theirs(call, made)])
        found = self.keys.get(rest[0])
        if found is None:
            raise Problem(404, "api_key_not_found")
        if not self._is_theirs(call, found) and self.weak != "foreign_key_or_login":
            raise Problem(404, "api_key_not_found")
        if call.method == "DELETE":
            found["revoked"] = self.weak != "revoked_key"
            return Reply(204, None)
        return Reply(200, self._shown(found))

    @staticmethod
    def _is_theirs(call: Any, made: dict[str, Any]) -> bool:
        return bool(made["user_id"] == call.user["sub"])

    def _create(self, call: Any) -> Reply:
        body = call.json()
        if "admin" in body["scopes"] and self.weak != "key_of_a_user_is_no_admins":
            raise Problem(403, "admin_only")
        made = {**body, "id": str(uuid.uuid4()), "key": f"tsk_{secrets.token_urlsafe(32)}", "revoked": False}
        self.keys[made["id"]] = {**made, "user_id": call.user["sub"]}
        return Reply(201, made)

    def _shown(self, made: dict[str, Any]) -> dict[str, Any]:
        hidden = set() if self.weak == "key_is_shown_once" else {"key"}
        return {name: value for name, value in made.items() if name not in hidden}

    def _sessions(self, call: Any, sessions: dict[str, str]) -> Reply:
        if call.method != "GET":
            raise Problem(404, "session_not_found")
        mine = [sid for sid, user_id in sessions.items() if user_id == call.user["sub"]]
        return Reply(200, [{"id": sid, "current": sid == call.user["sid"]} for sid in mine])
