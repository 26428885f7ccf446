"""One-time codes of a second factor: TOTP (RFC 6238), and recovery codes for the day the device is lost.

ASVS 5.0 V6.5. The codes of an authenticator have 6 digits and change every 30 seconds (HMAC-SHA-1), because all
authenticator apps understand these values and some ignore others.
"""

import base64
import hashlib
import hmac
import secrets
from datetime import datetime

import pyotp

ISSUER = "Task Service"
# Steps of 30 s by which the clocks of the service and of the device may differ: RFC 6238 §5.2 advises one.
DRIFT_STEPS = 1
RECOVERY_CODES = 10
# 120 bits: from 112 bits on, a fast hash of a code is as safe as a slow one (ASVS 6.5.2).
RECOVERY_BYTES = 15
_GROUP = 6


def new_secret() -> str:
    """Return 160 random bits in base32, as authenticators take them."""
    return pyotp.random_base32()


def provisioning_uri(secret: str, username: str) -> str:
    """Return the `otpauth://` URI that authenticators read as a QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=username, issuer_name=ISSUER)


def matching_step(secret: str, code: str, now: datetime, last_step: int | None) -> int | None:
    """Return the time step whose code this is, within the drift and later than `last_step`; None if there is none."""
    totp = pyotp.TOTP(secret)
    current = int(now.timestamp()) // totp.interval
    for step in range(current - DRIFT_STEPS, current + DRIFT_STEPS + 1):
        is_new = last_step is None or step > last_step
        if hmac.compare_digest(totp.generate_otp(step).encode(), code.encode()) and is_new:
            return step
    return None


def new_recovery_codes() -> list[str]:
    """Return random codes of four groups: `k3fq2a-…`."""
    plain = [base64.b32encode(secrets.token_bytes(RECOVERY_BYTES)).decode().lower() for _ in range(RECOVERY_CODES)]
    return ["-".join(code[at : at + _GROUP] for at in range(0, len(code), _GROUP)) for code in plain]


def normalized(code: str) -> str:
    """Return a typed code without the spaces and hyphens with which people and apps group it, in lower case."""
    return "".join(code.split()).replace("-", "").lower()


def recovery_digest(code: str) -> bytes:
    """Return the digest that is stored of a normalised recovery code."""
    return hashlib.sha256(b"recovery-code:" + code.encode()).digest()
