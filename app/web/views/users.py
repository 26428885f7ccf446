"""Users, for administrators: who there is and what they have in hand; a page for each, which changes and deletes."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Form, Request, Response
from pydantic import BaseModel
from sqlalchemy.orm import Session

from app.api.deps import PasswordTurn, SessionDep
from app.api.endpoints.users import PASSWORDS_BYTES
from app.api.http.body_route import body_limit
from app.api.http.responses import Cursor
from app.api.http.router import SlashRouter
from app.errors import InvalidInput, LastAdmin, ServiceError, UserExists, WeakPassword
from app.models.task import TaskPriority
from app.models.user import Role
from app.schemas.user import Password, UserCreate, UserUpdate
from app.services.accounts.totp_service import totp_service
from app.services.tasks import task_counts
from app.services.user_service import user_service
from app.web.access import PageAdmin
from app.web.forms import Confirmed, ask_to_confirm, by_field, next_page, number, parsed
from app.web.responses import NavigationEntry, page, redirect

router = SlashRouter()
NAVIGATION = (NavigationEntry(8, "/users", "Users", to_admins_alone=True),)
OBJECT_PAGES = {"user": "/users/"}

ROWS = 50
_NEW = {"role": Role.USER.value, "max_priority": TaskPriority.CRITICAL.value, "weight": "1"}
# What the reader can put right in the form.
_REFUSALS = (InvalidInput, UserExists, LastAdmin)


class UserForm(BaseModel):
    """What was typed. The models of the API say what is wrong with it."""

    username: str | None = None
    email: str | None = None
    password: str | None = None
    role: str | None = None
    max_priority: str | None = None
    weight: str | None = None

    def typed(self) -> dict[str, str]:
        return self.model_dump(exclude_none=True)

    def meant(self) -> dict[str, Any]:
        """Return the fields that were typed, as the API takes them."""
        typed = self.typed()
        return typed | {name: number(value) for name, value in typed.items() if name == "weight"}


class NewPassword(BaseModel):
    """A password that an administrator gives."""

    new_password: Password


@router.get("/users")
def list_users(request: Request, db: SessionDep, _admin: PageAdmin, cursor: Cursor = None) -> Response:
    found = user_service.list_users(db, limit=ROWS, cursor=cursor)
    values = {
        "users": found.items,
        "counts": task_counts.of_users(db, [user.id for user in found.items]),
        "next_page": next_page(found, "/users"),
    }
    return page(request, "users.html", values)


@router.get("/users/new")
def new_user(request: Request, _admin: PageAdmin) -> Response:
    return _form(request, _NEW)


@router.post("/users")
@body_limit(lambda _: PASSWORDS_BYTES)
def create_user(
    request: Request, db: SessionDep, _admin: PageAdmin, _turn: PasswordTurn, form: Annotated[UserForm, Form()]
) -> Response:
    try:
        created = user_service.create_user(db, **parsed(UserCreate, form.meant()).model_dump())
    except (InvalidInput, UserExists) as error:
        return _form(request, _NEW | form.typed(), error, _errors(db, error, form))
    return redirect(request, f"/users/{created.id}", "user_created")


@router.get("/users/{user_id}")
def show_user(request: Request, db: SessionDep, admin: PageAdmin, user_id: UUID) -> Response:
    return _user(request, db, admin, user_id)


@router.post("/users/{user_id}")
def update_user(
    request: Request, db: SessionDep, admin: PageAdmin, user_id: UUID, form: Annotated[UserForm, Form()]
) -> Response:
    try:
        changes = parsed(UserUpdate, {name: value for name, value in form.meant().items() if name != "password"})
        user_service.update_user(db, user_id, changes.model_dump(exclude_unset=True))
    except _REFUSALS as error:
        return _user(request, db, admin, user_id, form, error)
    return redirect(request, f"/users/{user_id}", "user_changed")


@router.post("/users/{user_id}/activate")
def activate_user(request: Request, db: SessionDep, _admin: PageAdmin, user_id: UUID) -> Response:
    user_service.update_user(db, user_id, {"is_active": True})
    return redirect(request, f"/users/{user_id}", "activated")


@router.post("/users/{user_id}/deactivate")
def deactivate_user(
    request: Request, db: SessionDep, _admin: PageAdmin, user_id: UUID, confirmed: Confirmed = False
) -> Response:  # fmt: skip
    if not confirmed:
        return _ask(request, db, "deactivate", user_id)
    user_service.update_user(db, user_id, {"is_active": False})
    return redirect(request, f"/users/{user_id}", "deactivated")


@router.post("/users/{user_id}/password")
@body_limit(lambda _: PASSWORDS_BYTES)
def reset_password(
    request: Request, db: SessionDep, admin: PageAdmin, _turn: PasswordTurn, user_id: UUID,
    new_password: Annotated[str, Form(max_length=4096)] = "",
) -> Response:  # fmt: skip
    if user_id == admin.id:  # the account page asks for the current one
        return redirect(request, "/account")
    try:
        user_service.reset_password(db, user_id, parsed(NewPassword, {"new_password": new_password}).new_password)
    except (InvalidInput, WeakPassword) as error:
        return _user(request, db, admin, user_id, UserForm(), error)
    return redirect(request, f"/users/{user_id}", "password_reset")


@router.post("/users/{user_id}/delete")
def delete_user(
    request: Request, db: SessionDep, _admin: PageAdmin, user_id: UUID, confirmed: Confirmed = False
) -> Response:  # fmt: skip
    if not confirmed:
        return _ask(request, db, "delete_user", user_id)
    user_service.delete_user(db, user_id)
    return redirect(request, "/users", "user_deleted")


@router.post("/users/{user_id}/second-factor/remove")
def remove_second_factor(
    request: Request, db: SessionDep, _admin: PageAdmin, user_id: UUID, confirmed: Confirmed = False
) -> Response:  # fmt: skip
    if not confirmed:
        return _ask(request, db, "reset_factor", user_id)
    totp_service.reset(db, user_id)
    return redirect(request, f"/users/{user_id}", "factor_reset")


def _ask(request: Request, db: Session, deed: str, user_id: UUID) -> Response:
    return ask_to_confirm(request, deed, user_service.get_user(db, user_id).username, f"/users/{user_id}")


def _form(
    request: Request, typed: dict[str, str], error: ServiceError | None = None, errors: dict[str, str] | None = None
) -> Response:
    values = {"typed": typed, "errors": errors or {}, **_choices()}
    return page(request, "new_user.html", values, error)


def _user(
    request: Request, db: Session, admin: PageAdmin, user_id: UUID,
    form: UserForm | None = None, error: ServiceError | None = None,
) -> Response:  # fmt: skip
    found = user_service.get_user(db, user_id)
    stored = {name: str(getattr(found, name)) for name in ("username", "email", "role", "max_priority", "weight")}
    values = {
        "account": found,
        "counts": task_counts.of_users(db, [user_id])[user_id],
        "factor": totp_service.state(db, user_id),
        "is_self": user_id == admin.id,
        "typed": stored | (form.typed() if form else {}),
        "error": error if isinstance(error, LastAdmin) else None,
        "errors": _errors(db, error, form, user_id) if error and form else {},
        **_choices(),
    }
    return page(request, "user.html", values, error)


def _choices() -> dict[str, list[str]]:
    return {"roles": [role.value for role in Role], "priorities": [each.value for each in TaskPriority]}


def _errors(db: Session, error: ServiceError, form: UserForm, user_id: UUID | None = None) -> dict[str, str]:
    """Return what is wrong, by the field."""
    if isinstance(error, InvalidInput):
        return by_field(error.errors)
    if not isinstance(error, UserExists):
        return {}
    holder = user_service.find_id(db, form.username or "")
    return {"email" if holder in {None, user_id} else "username": error.title}
