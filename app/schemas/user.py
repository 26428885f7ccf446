"""Request and response bodies of users and of their second factor."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, EmailStr, Field
from pydantic_core import PydanticCustomError

from app.core.credentials import MIN_LENGTH, ascii_address
from app.models.task import TaskPriority
from app.models.user import MAX_WEIGHT, Role
from app.schemas.base import PatchModel, RequestModel, ResponseModel
from app.schemas.values import Number

MAX_PASSWORD = 1024

# ASCII only, so that look-alikes of other names cannot be registered. Case does not matter.
Username = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{2,63}$",
        description="3 to 64 characters of `A-Z a-z 0-9 . _ -`. Unique, ignoring case.",
        examples=["anna"],
    ),
]


def _to_ascii(email: str) -> str:
    try:
        return ascii_address(email)
    except ValueError:
        raise PydanticCustomError("email_not_ascii", "The part before the @ must be ASCII") from None


Email = Annotated[
    EmailStr,
    AfterValidator(_to_ascii),
    Field(
        max_length=254,
        description="The e-mail address; it works for logging in too. Unique, ignoring case. The part before the @ is "
        "ASCII. An international domain is stored in its `xn--` form.",
        examples=["anna@example.com"],
    ),
]
Password = Annotated[
    str,
    Field(
        max_length=MAX_PASSWORD,
        description="15 to 1024 characters, used unchanged. An answer 422 `weak_password` refuses what is easy to "
        "guess, with advice. Examples are common words, patterns, the username and the e-mail address.",
        examples=["correct horse battery staple"],
        # The service checks the length with the rest, so that a short password is `weak_password` as well.
        json_schema_extra={"format": "password", "minLength": MIN_LENGTH},
    ),
]
CurrentPassword = Annotated[
    str,
    Field(
        max_length=MAX_PASSWORD,
        description="The present password.",
        examples=["correct horse battery staple"],
        json_schema_extra={"format": "password"},
    ),
]
RoleField = Annotated[Role, Field(description="An `admin` can read and change everything.", examples=["user"])]
ActiveField = Annotated[
    bool, Field(description="An inactive user cannot log in, and has no valid tokens.", examples=[True])
]
_MAX_PRIORITY = (
    "The highest priority that the user may give to tasks; above it: 403 `priority_not_allowed`. Tasks that exist keep "
    "their priority."
)
_WEIGHT = (
    "The user's share of the starts within a queue and a priority, beside those of the others. With weight 2 it is "
    "twice that of weight 1. A change holds for tasks that become due from then on."
)
Weight = Annotated[int, Field(ge=1, le=MAX_WEIGHT, description=_WEIGHT, examples=[1]), Number]


class Registration(RequestModel):
    """A new account."""

    username: Username
    email: Email
    password: Password


class UserCreate(Registration):
    """A new user, as an administrator creates it."""

    role: RoleField = Role.USER
    is_active: ActiveField = True
    max_priority: TaskPriority = Field(TaskPriority.CRITICAL, description=_MAX_PRIORITY, examples=["normal"])
    weight: Weight = 1


class FirstAdmin(RequestModel):
    """FIRST_ADMIN_*: accepts addresses that cannot be registered, such as `admin@localhost`."""

    username: Username
    email: str = Field(pattern=r"^[^@\s]+@[^@\s]+$", max_length=254)
    password: Password


class ProfileUpdate(PatchModel):
    """Changes of your profile. Omitted fields keep their values."""

    username: Username | None = None
    email: Email | None = None


class UserUpdate(ProfileUpdate):
    """Changes of a user. Omitted fields keep their values. A new role or a deactivation ends the user's logins."""

    role: RoleField | None = None
    is_active: ActiveField | None = None
    max_priority: TaskPriority | None = Field(None, description=_MAX_PRIORITY, examples=["normal"])
    weight: Weight | None = None


class PasswordChange(RequestModel):
    """A change of your password."""

    current_password: CurrentPassword
    new_password: Password
    revoke_api_keys: bool = Field(
        False, description="Revoke all your API keys too. Otherwise they keep working.", examples=[False]
    )


_USER: dict[str, Any] = {
    "id": "019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d11",
    "username": "anna",
    "email": "anna@example.com",
    "role": "user",
    "is_active": True,
    "created_at": "2026-11-24T12:00:00Z",
    "updated_at": "2026-11-24T12:00:00Z",
}


class User(ResponseModel):
    """A user."""

    model_config = ConfigDict(json_schema_extra={"example": _USER})

    id: UUID = Field(description="The user's id, a UUID version 7: ids sort by creation time.")
    username: str = Field(description="The username, in the case in which it was registered.")
    email: str = Field(description="The e-mail address.")
    role: RoleField
    is_active: ActiveField
    created_at: datetime = Field(description="When the user was created, in UTC.")
    updated_at: datetime = Field(description="When the profile, the role or the password last changed, in UTC.")


class ManagedUser(User):
    """A user, as administrators see it."""

    model_config = ConfigDict(json_schema_extra={"example": {**_USER, "max_priority": "normal", "weight": 1}})

    max_priority: TaskPriority = Field(description=_MAX_PRIORITY)
    weight: Weight


# -- Request and response bodies of the second factor ------------------------------------------------------------------

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
