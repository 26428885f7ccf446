"""Second factors for tests, set up as users do: through the API."""

import time

import httpx
import pyotp

from tests.support.accounts import API, PASSWORD, bearer
from tests.support.settings import sql

TOTP = f"{API}/users/me/totp"


def begin(http: httpx.Client, token: str, password: str = PASSWORD) -> str:
    """The secret of a second factor that is not in force yet."""
    answer = http.post(TOTP, headers=bearer(token), json={"current_password": password})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["secret"])


def set_up(http: httpx.Client, token: str) -> tuple[str, list[str]]:
    """The secret and the recovery codes of a second factor that is in force."""
    secret = begin(http, token)
    answer = http.post(f"{TOTP}/confirm", headers=bearer(token), json={"otp": present_code(secret)})
    assert answer.status_code == 200, answer.text
    return secret, answer.json()["recovery_codes"]


def present_code(secret: str) -> str:
    """What the authenticator shows now."""
    return pyotp.TOTP(secret).now()


def unused_code(secret: str) -> str:
    """The same in the application's database of this process, where no code counts as used: the next one would take
    half a minute to come."""
    sql("UPDATE second_factors SET last_step = NULL")
    return present_code(secret)


def wrong_code(secret: str) -> str:
    """None of the codes that are good around now."""
    totp = pyotp.TOTP(secret)
    present = int(time.time()) // totp.interval
    good = {totp.generate_otp(step) for step in range(present - 5, present + 6)}
    return next(code for code in (f"{number:06}" for number in range(20)) if code not in good)
