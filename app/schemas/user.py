"""Users over HTTP."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, EmailStr, Field
from pydantic_core import PydanticCustomError

from app.core.email_addresses import ascii_address
from app.models.user import Role
from app.schemas.base import PatchModel, RequestModel

MIN_PASSWORD, MAX_PASSWORD = 8, 1024

# ASCII only: no look-alike of another name can be registered. Upper and lower case name the same account.
Username = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{2,63}$",
        description="3 to 64 of `A-Z a-z 0-9 . _ -`, unique without regard to case.",
        examples=["anna"],
    ),
]


def _to_ascii(email: str) -> str:
    try:
        return ascii_address(email)
    except ValueError:
        raise PydanticCustomError("email_not_ascii", "What stands before the @ must be ASCII") from None


Email = Annotated[
    EmailStr,
    AfterValidator(_to_ascii),
    Field(
        max_length=254,
        description="Unique without regard to case; good for logging in. ASCII before the @; a domain in other letters "
        "is kept in its `xn--` form.",
        examples=["anna@example.com"],
    ),
]
Password = Annotated[
    str,
    Field(
        min_length=MIN_PASSWORD,
        max_length=MAX_PASSWORD,
        description="8 to 1024 characters, taken as they are; no common one, and not the user's name or address.",
        examples=["correct horse battery staple"],
        json_schema_extra={"format": "password"},
    ),
]
RoleField = Annotated[Role, Field(description="`admin` may see and do everything.", examples=["user"])]
ActiveField = Annotated[
    bool, Field(description="An inactive user cannot log in and holds no valid token.", examples=[True])
]


class Registration(RequestModel):
    username: Username
    email: Email
    password: Password


class UserCreate(Registration):
    """What an administrator may say of a new user."""

    role: RoleField = Role.USER
    is_active: ActiveField = True


class FirstAdmin(RequestModel):
    """FIRST_ADMIN_*: the operator may name an address, such as `admin@localhost`, that no user could register."""

    username: Username
    email: str = Field(pattern=r"^[^@\s]+@[^@\s]+$", max_length=254)
    password: Password


class ProfileUpdate(PatchModel):
    """What users may change about themselves."""

    username: Username | None = None
    email: Email | None = None


class UserUpdate(ProfileUpdate):
    """What administrators may change. A new role or a deactivation ends the user's logins."""

    role: RoleField | None = None
    is_active: ActiveField | None = None


class PasswordChange(RequestModel):
    current_password: str = Field(
        max_length=MAX_PASSWORD,
        description="The password as it is now.",
        examples=["correct horse battery staple"],
        json_schema_extra={"format": "password"},
    )
    new_password: Password
    revoke_api_keys: bool = Field(
        False, description="Revoke all your API keys as well; else they go on working.", examples=[False]
    )


class User(BaseModel):
    """A user, without anything secret."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "example": {
                "id": "019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d11",
                "username": "anna",
                "email": "anna@example.com",
                "role": "user",
                "is_active": True,
                "created_at": "2026-11-24T12:00:00Z",
                "updated_at": "2026-11-24T12:00:00Z",
            }
        },
    )

    id: UUID = Field(description="Version 7: ids order by time.")
    username: str = Field(description="The name as it was registered.")
    email: str = Field(description="The e-mail address.")
    role: RoleField
    is_active: ActiveField
    created_at: datetime = Field(description="UTC.")
    updated_at: datetime = Field(description="UTC; the last change of the profile, the role or the password.")
