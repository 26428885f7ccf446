"""Authentication: tokens that must be refused, logins that must not tell which users exist."""

import pyotp

from tests.security import tokens
from tests.security.registry import AUTHENTICATION, REFUSED, check, expect, expect_status
from tests.security.target import Target
from tests.support.leftovers import API


def _refused(target: Target, token: str, what: str) -> None:
    answer = target.ask("GET", "/users/me", headers={"Authorization": b"Bearer " + token.encode()})
    expect_status(answer, 401, f"{what}")


@check(AUTHENTICATION)
def no_token(target: Target) -> None:
    """A request without a token is answered 401 with a challenge"""
    for path in ("/users/me", "/tasks/", f"/tasks/{target.task['id']}", "/tasks/count"):
        answer = expect_status(target.ask("GET", path), 401, f"GET {path} without a token")
        challenge = answer.headers.get("WWW-Authenticate", "")
        expect(challenge.startswith("Bearer"), f"GET {path}: WWW-Authenticate is {challenge!r}")


@check(AUTHENTICATION)
def malformed_token(target: Target) -> None:
    """Malformed tokens are answered 401"""
    for token in tokens.MALFORMED:
        _refused(target, token, f"token {token[:12]!r}")


@check(AUTHENTICATION)
def wrong_scheme(target: Target) -> None:
    """A good token under another scheme than Bearer is answered 401"""
    for value in (target.alice.token, f"Basic {target.alice.token}", f"Token {target.alice.token}", "Bearer"):
        answer = target.ask("GET", "/users/me", headers={"Authorization": value})
        expect_status(answer, 401, f"Authorization: {value[:8]}…")


@check(AUTHENTICATION)
def repeated_authorization(target: Target) -> None:
    """Two Authorization fields are answered 400: a proxy may check another one than the service obeys"""
    good, other = f"Bearer {target.alice.token}", f"Bearer {target.mallory.token}"
    for first, second in ((good, "Bearer x"), ("Bearer x", good), (good, other), (good, good)):
        headers = [("Authorization", first), ("Authorization", second)]
        expect_status(target.http.get(f"{API}/users/me", headers=headers), 400, "two Authorization fields")


@check(AUTHENTICATION)
def algorithm_none(target: Target) -> None:
    """A token with the algorithm none is answered 401"""
    header, claims, signature = tokens.parts(target.alice.token)
    for name in ("none", "None", "NONE", "nOnE"):
        text = tokens.unsigned({**header, "alg": name}, claims)
        _refused(target, f"{text}.", f"alg {name}")
        _refused(target, f"{text}.{signature}", f"alg {name} with the old signature")


@check(AUTHENTICATION)
def stripped_signature(target: Target) -> None:
    """A token without its signature is answered 401"""
    head, _, _ = target.alice.token.rpartition(".")
    _refused(target, f"{head}.", "an empty signature")
    _refused(target, head, "no signature")


@check(AUTHENTICATION)
def swapped_payload(target: Target) -> None:
    """Another user's id, or a later expiry, under an old signature is answered 401"""
    header, claims, signature = tokens.parts(target.mallory.token)
    for changed in ({"sub": target.alice.id}, {"exp": 4_000_000_000}, {"role": "admin"}):
        _refused(target, f"{tokens.unsigned(header, {**claims, **changed})}.{signature}", f"changed {[*changed]}")


@check(AUTHENTICATION)
def guessable_key(target: Target) -> None:
    """A token signed with a well-known key is answered 401"""
    header, claims, _ = tokens.parts(target.alice.token)
    for key in tokens.GUESSES:
        _refused(target, tokens.signed(header, claims, key), f"signed with {key!r}")


@check(AUTHENTICATION)
def key_in_the_header(target: Target) -> None:
    """A token that brings or names its own key (jwk, jku, kid) is answered 401"""
    header, claims, _ = tokens.parts(target.alice.token)
    key = "forged-forged-forged-forged-forged"
    jwk = {"kty": "oct", "k": tokens.encode(key.encode()), "alg": "HS256"}
    for trick in ({"jwk": jwk}, {"jku": "http://127.0.0.1:9/keys"}, {"kid": "forged", "jwk": jwk}):
        _refused(target, tokens.signed({**header, **trick}, claims, key), f"header with {[*trick]}")
    for kid in ("../../../../dev/null", "' UNION SELECT '", "x" * 500):
        _refused(target, tokens.signed({**header, "kid": kid}, claims, ""), f"kid {kid[:12]!r}")


@check(AUTHENTICATION)
def deep_header(target: Target) -> None:
    """A deeply nested or huge token header is refused without a server error"""
    for token in (tokens.deep_header(), tokens.deep_header(20_000), tokens.encode(b"x" * 30_000) + ".a.b"):
        expect_status(target.ask("GET", "/users/me", token), {400, 401, 413, 431}, f"a token of {len(token)} bytes")


@check(AUTHENTICATION)
def refresh_as_access(target: Target) -> None:
    """A refresh token is no access token"""
    _refused(target, target.alice.refresh_token, "a refresh token as bearer")


@check(AUTHENTICATION)
def access_as_refresh(target: Target) -> None:
    """An access token is no refresh token"""
    answer = target.ask("POST", "/auth/refresh", json={"refresh_token": target.alice.token})
    expect_status(answer, {401, 422}, "an access token refreshed")


@check(AUTHENTICATION)
def token_in_the_query(target: Target) -> None:
    """A token in the query string does not authenticate: URLs end up in logs"""
    for name in ("token", "access_token", "authorization"):
        expect_status(target.ask("GET", "/users/me", params={name: target.alice.token}), 401, f"?{name}=")


@check(AUTHENTICATION)
def same_answer_for_unknown_users(target: Target) -> None:
    """A wrong password and an unknown user get the same answer"""
    wrong, unknown = (
        target.ask_login(name, "not-the-password-1") for name in (target.mallory.username, "nobody-of-this-name")
    )
    expect(wrong.status_code == unknown.status_code == 401, f"{wrong.status_code} and {unknown.status_code}")
    differing = {key for key in wrong.json() if wrong.json()[key] != unknown.json().get(key)} - {"request_id"}
    expect(not differing, f"the bodies differ in {sorted(differing)}")


@check(AUTHENTICATION)
def logout_ends_the_login(target: Target) -> None:
    """After a logout its access and refresh tokens are worthless"""
    login = target.login(target.mallory)
    expect_status(target.ask("POST", "/auth/logout", login["access_token"]), 204, "logout")
    _refused(target, login["access_token"], "the access token after logout")
    answer = target.ask("POST", "/auth/refresh", json={"refresh_token": login["refresh_token"]})
    expect_status(answer, 401, "the refresh token after logout")


@check(AUTHENTICATION)
def replayed_refresh_token(target: Target) -> None:
    """A refresh token works once; its replay ends the whole login"""
    login = target.login(target.mallory)
    fresh = target.ask("POST", "/auth/refresh", json={"refresh_token": login["refresh_token"]})
    expect_status(fresh, 200, "the first use")
    replay = target.ask("POST", "/auth/refresh", json={"refresh_token": login["refresh_token"]})
    expect_status(replay, 401, "the second use")
    _refused(target, fresh.json()["access_token"], "the family's new access token after a replay")


@check(AUTHENTICATION)
def short_password(target: Target) -> None:
    """A password of less than 15 characters is refused"""
    for password in ("Ab1!xyz", "Password1!", "87654321", "x7Kq-9vTzb3Lw2"):
        body = {"current_password": target.mallory.password, "new_password": password}
        answer = target.as_mallory("PUT", "/users/me/password", json=body)
        expect_status(answer, 422, f"a new password of {len(password)} characters")


@check(AUTHENTICATION)
def common_password(target: Target) -> None:
    """Long passwords that are easy to guess are refused: repeated words, patterns, the user's own name"""
    own = target.mallory.username
    for password in (
        "passwordpassword",
        "123456789012345",
        "qwertyuiopasdfghjkl",
        own,
        f"{own}1",
        target.mallory.email,
    ):
        body = {"current_password": target.mallory.password, "new_password": password}
        answer = target.as_mallory("PUT", "/users/me/password", json=body)
        expect_status(answer, 422, f"{password[:9]!r}… as a new password")


@check(AUTHENTICATION)
def password_change_needs_the_old_one(target: Target) -> None:
    """A stolen token alone cannot change the password"""
    body = {"current_password": "not-the-password-1", "new_password": target.mallory.password}
    expect_status(target.as_mallory("PUT", "/users/me/password", json=body), REFUSED, "with a wrong current password")


@check(AUTHENTICATION)
def second_factor(target: Target) -> None:
    """With a second factor the password alone does not log in, and each code works once"""
    account = target.new_account("otto")
    begun = target.ask("POST", "/users/me/totp", account.token, json={"current_password": account.password})
    if begun.json().get("code") == "second_factor_off":
        return  # a server without SECRET_KEY, for first steps
    expect_status(begun, 201, "a second factor is begun")
    code = pyotp.TOTP(begun.json()["secret"]).now()
    confirmed = target.ask("POST", "/users/me/totp/confirm", account.token, json={"otp": code})
    expect_status(confirmed, 200, "it is confirmed")
    recovery = confirmed.json()["recovery_codes"][0]
    for otp, wanted, what in (
        ("", 401, "the password alone"),
        (code, 401, "the code that confirmed it"),
        (recovery, 200, "a recovery code"),
        (recovery, 401, "the same recovery code again"),
    ):
        form = {"username": account.username, "password": account.password, "otp": otp}
        expect_status(target.ask("POST", "/auth/login", data=form), wanted, what)
