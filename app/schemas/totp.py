"""Request and response bodies of the second factor."""

from typing import Annotated

from pydantic import Field

from app.schemas.base import RequestModel, ResponseModel
from app.schemas.user import CurrentPassword

MAX_CODE = 64

OneTimeCode = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_CODE,
        description="The 6 digits that the authenticator shows, or a recovery code. Spaces and hyphens do not matter.",
        examples=["492039"],
    ),
]


class TotpBegin(RequestModel):
    """The password, before a second factor is set up."""

    current_password: CurrentPassword


class TotpSecret(ResponseModel):
    """What an authenticator app needs."""

    secret: str = Field(
        description="The secret in base32, to be typed into an authenticator app.",
        examples=["JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"],
    )
    uri: str = Field(
        description="The same as an `otpauth://` URI. Show it as a QR code.",
        examples=["otpauth://totp/Task%20Service:anna?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=Task%20Service"],
    )


class TotpConfirm(RequestModel):
    """The first code, which puts the second factor in force."""

    otp: OneTimeCode


class RecoveryCodes(ResponseModel):
    """Codes for the day the authenticator is lost. Each is good once, as `otp`."""

    recovery_codes: list[str] = Field(
        description="Shown once. Keep them where the authenticator is not.",
        examples=[["mfzg6t-kq2x4n-ovwc3e-ey7h5a", "pj4r2d-qz6msw-t3fhba-lk5c7u"]],
    )


class TotpRemoval(RequestModel):
    """The password and a code, before the second factor is removed."""

    current_password: CurrentPassword
    otp: OneTimeCode
