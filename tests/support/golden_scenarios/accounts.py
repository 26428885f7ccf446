"""Users, logins, API keys, second factors and the audit."""

from datetime import UTC, datetime, timedelta
from typing import Any

from app.core import security
from app.core.origin import Origin, current_origin
from app.db.session import SessionLocal
from app.errors import UserExists
from app.services.accounts.auth_service import auth_service
from app.services.audit.audit_service import audit_service
from app.services.user_service import user_service
from tests.support.accounts import API, OTHER_PASSWORD, PASSWORD, bearer
from tests.support.golden_scenarios.stage import Stage
from tests.support.second_factors import present_code, unused_code, wrong_code
from tests.support.settings import sql
from tests.support.task_client import TaskClient

FORM = {"password": PASSWORD, "otp": ""}


def logins(stage: Stage) -> None:
    """Register, log in with every outcome, refresh, list and end logins."""
    me = _registered(stage, "one")
    body = {"username": "one", "email": "other@example.com", "password": PASSWORD}
    stage.call(None, "POST", "/auth/register", 409, json=body)
    for login, password in (("one", "wrong"), ("nobody", PASSWORD), ("one@example.com", PASSWORD)):
        stage.client.post(f"{API}/auth/login", data={"username": login, "password": password})
    _logs_in_with_an_old_hash(stage)
    tokens = stage.call(None, "POST", "/auth/login", data=FORM | {"username": "one"}).json()
    refresh = {"refresh_token": tokens["refresh_token"]}
    mine = TaskClient(
        stage.client, me.user, stage.call(None, "POST", "/auth/refresh", json=refresh).json()["access_token"]
    )
    others = [each["id"] for each in stage.call(mine, "GET", "/auth/sessions").json() if not each["current"]]
    stage.call(mine, "DELETE", f"/auth/sessions/{others[0]}", 204)
    stage.call(mine, "DELETE", "/auth/sessions", 204)
    stage.call(None, "POST", "/auth/refresh", 401, json=refresh)  # a replay
    stage.call(None, "POST", "/auth/refresh", 401, json={"refresh_token": "unknown"})
    stage.call(_logged_in(stage, "one"), "POST", "/auth/logout", 204)
    _throttled(stage)


def _registered(stage: Stage, name: str) -> TaskClient:
    body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
    user = stage.call(None, "POST", "/auth/register", 201, json=body).json()
    return TaskClient(stage.client, user, _logged_in(stage, name).token)


def _logged_in(stage: Stage, name: str) -> TaskClient:
    token = stage.call(None, "POST", "/auth/login", data=FORM | {"username": name}).json()["access_token"]
    return TaskClient(stage.client, stage.client.get(f"{API}/users/me", headers=bearer(token)).json(), token)


def _logs_in_with_an_old_hash(stage: Stage) -> None:
    old = security._passwords.copy(argon2__time_cost=2).hash(PASSWORD)
    sql("UPDATE users SET password_hash = :old WHERE username = 'one'", old=old)
    _logged_in(stage, "one")


def _throttled(stage: Stage) -> None:
    """Fail until the account has to wait."""
    _registered(stage, "guessed")
    answers = [stage.client.post(f"{API}/auth/login", data={"username": "guessed", "password": "x"}) for _ in range(20)]
    assert answers[-1].status_code == 429


def users(stage: Stage) -> None:
    """The own profile, and what administrators do with users."""
    mine, boss = _registered(stage, "two"), stage.user("admin")
    stage.call(mine, "GET", "/users/me")
    stage.call(mine, "PATCH", "/users/me", json={"email": "new@example.com", "username": "second"})
    stage.call(mine, "PATCH", "/users/me", 409, json={"username": boss.user["username"]})
    stage.call(mine, "GET", "/users/", 403)
    change = {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}
    stage.call(mine, "PUT", "/users/me/password", 204, json=change | {"revoke_api_keys": True})
    body = {"username": "made", "email": "made@example.com", "password": PASSWORD}
    made = stage.call(boss, "POST", "/users/", 201, json=body).json()["id"]
    stage.call(boss, "POST", "/users/", 409, json=body)
    page = stage.call(boss, "GET", "/users/?limit=1")
    stage.client.get(page.links["next"]["url"], headers=boss.headers).raise_for_status()
    stage.call(boss, "GET", f"/users/{made}")
    for changes in (
        {"role": "admin"},
        {"role": "user", "weight": 2},
        {"max_priority": "low"},
        {"is_active": False},
        {},
    ):
        stage.call(boss, "PATCH", f"/users/{made}", json=changes)
    stage.call(boss, "PATCH", f"/users/{boss.user['id']}", 409, json={"role": "user"})
    stage.call(boss, "DELETE", f"/users/{made}", 204)
    with SessionLocal() as db:
        user_service.ensure_first_admin(db, "first", PASSWORD)
        try:
            user_service.create_user(db, "first", "first@example.com", PASSWORD, commit=False)
        except UserExists:
            db.rollback()


def api_keys(stage: Stage) -> None:
    """Make, list, use and revoke keys."""
    mine = stage.user()
    expires_at = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    made: list[dict[str, Any]] = [
        stage.call(mine, "POST", "/auth/api-keys", 201, json={"name": "k", "scopes": ["tasks:read"]} | more).json()
        for more in ({}, {"expires_at": expires_at})
    ]
    page = stage.call(mine, "GET", "/auth/api-keys?limit=1")
    stage.client.get(page.links["next"]["url"], headers=mine.headers).raise_for_status()
    stage.call(mine, "GET", f"/auth/api-keys/{made[0]['id']}")
    for _ in range(2):  # its use is noted once
        stage.call(None, "GET", "/tasks/types", headers=bearer(made[0]["key"]))
    for _ in range(2):
        stage.call(mine, "DELETE", f"/auth/api-keys/{made[0]['id']}", 204)
    with SessionLocal() as db:
        auth_service.purge_expired_logins(db)


def second_factors(stage: Stage) -> None:
    """Set a second factor up, log in with it, and remove it in each way."""
    mine, boss = _registered(stage, "three"), stage.user("admin")
    begun = {"current_password": PASSWORD}
    stage.call(mine, "DELETE", "/users/me/totp", 404, json=begun | {"otp": "000000"})
    secret = stage.call(mine, "POST", "/users/me/totp", 201, json=begun).json()["secret"]
    stage.call(mine, "POST", "/users/me/totp/confirm", 403, json={"otp": wrong_code(secret)})
    confirmed = stage.call(mine, "POST", "/users/me/totp/confirm", json={"otp": present_code(secret)})
    recovery = confirmed.json()["recovery_codes"]
    form = FORM | {"username": "three"}
    for otp in ("", wrong_code(secret), unused_code(secret), recovery[0]):
        stage.client.post(f"{API}/auth/login", data=form | {"otp": otp})
    for otp, status in (("x", 403), (recovery[1], 204)):
        stage.call(mine, "DELETE", "/users/me/totp", status, json=begun | {"otp": otp})
    stage.call(mine, "POST", "/users/me/totp", 201, json=begun)
    stage.call(boss, "DELETE", f"/users/{mine.user['id']}/totp", 204)


def audit(stage: Stage) -> None:
    """The list with each of its filters, records of refusals, and the deletion of old records."""
    mine, boss = stage.user(), stage.user("admin")
    stage.call(mine, "GET", "/audit", 403)
    now = datetime.now(UTC)
    for query in (
        {"event": ["access.denied", "login.failed"]},
        {"actor_id": mine.user["id"]},
        {"object_id": "x"},
        {"created_after": (now - timedelta(hours=1)).isoformat()},
        {"created_before": (now + timedelta(hours=1)).isoformat()},
    ):
        stage.call(boss, "GET", "/audit", params=query)
    stage.call(mine, "GET", "/audit", 403)
    page = stage.call(boss, "GET", "/audit?limit=1")
    stage.client.get(page.links["next"]["url"], headers=boss.headers).raise_for_status()
    token = current_origin.set(Origin("127.0.0.1", "a request"))
    with SessionLocal() as db:
        audit_service.record_throttle(db, 10)
        _, before = audit_service.count_older(db, timedelta(0))
        assert sum(audit_service.prune(db, before, 10)) > 0
    current_origin.reset(token)
