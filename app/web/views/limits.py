"""Limits: their bounds, what is in use of them and what waits. Administrators set and delete them here."""

from typing import Annotated, Any

from fastapi import Form, Path, Query, Request, Response

from app.api.deps import SessionDep
from app.api.http.router import SlashRouter
from app.api.http.turns import costly
from app.errors import InvalidLimit, LimitUsed
from app.models.limit import MAX_COUNT, OnExcess
from app.schemas.values import LIMIT_NAME
from app.services.accounts.auth_service import Principal
from app.services.operations import limit_service
from app.services.operations.limit_service import LimitState, LimitUse, limit_uses
from app.web.access import PageAdmin, PageUser
from app.web.forms import Confirmed, ask_to_confirm, by_field, number
from app.web.responses import NavigationEntry, page, redirect

router = SlashRouter()
NAVIGATION = (NavigationEntry(5, "/limits", "Limits"),)
OBJECT_PAGES = {"limit": "/limits?change="}

Name = Annotated[str, Path(pattern=LIMIT_NAME)]
Field = Annotated[str, Form(max_length=40)]
_TEXTS = frozenset({"name", "on_excess"})


@router.get("/limits")
@costly(lambda _: True)
def show_limits(
    request: Request, db: SessionDep, user: PageUser, change: Annotated[str, Query(max_length=100)] = ""
) -> Response:
    return _limits(request, db, user, change=change)


@router.post("/limits")
def set_limit(
    request: Request,
    db: SessionDep,
    admin: PageAdmin,
    name: Annotated[str, Form(max_length=200)] = "",
    is_new: Annotated[bool, Form(alias="new")] = False,
    concurrency: Field = "",
    concurrency_per_key: Field = "",
    rate_count: Field = "",
    rate_period_seconds: Field = "",
    rate_per_key_count: Field = "",
    rate_per_key_period_seconds: Field = "",
    on_excess: Field = OnExcess.WAIT.value,
) -> Response:
    """Make a limit, or replace the bounds of one. A new one replaces none."""
    typed = {
        "name": name.strip(),
        "concurrency": concurrency,
        "concurrency_per_key": concurrency_per_key,
        "rate_count": rate_count,
        "rate_period_seconds": rate_period_seconds,
        "rate_per_key_count": rate_per_key_count,
        "rate_per_key_period_seconds": rate_per_key_period_seconds,
        "on_excess": on_excess,
    }
    try:
        if is_new and any(limit.name == typed["name"] for limit in limit_service.list_limits(db)):
            raise InvalidLimit.at(["name"], "There is a limit of this name: change that one", "name_taken")
        limit_service.put_limit(db, typed["name"], **_bounds(typed))
    except InvalidLimit as error:
        return _limits(request, db, admin, change="" if is_new else typed["name"], typed=typed, error=error)
    return redirect(request, "/limits", "limit_set")


@router.post("/limits/{name}/delete")
def delete_limit(
    request: Request, db: SessionDep, admin: PageAdmin, name: Name, confirmed: Confirmed = False
) -> Response:  # fmt: skip
    if not confirmed:
        return ask_to_confirm(request, "delete_limit", limit_service.get_limit(db, name).name, "/limits")
    try:
        limit_service.delete_limit(db, name)
    except LimitUsed as error:
        return _limits(request, db, admin, refused=error)
    return redirect(request, "/limits", "limit_deleted")


def _limits(
    request: Request,
    db: SessionDep,
    user: Principal,
    *,
    change: str = "",
    typed: dict[str, str] | None = None,
    error: InvalidLimit | None = None,
    refused: LimitUsed | None = None,
) -> Response:
    limits = limit_service.list_limits(db)
    uses = limit_uses(db, owner=user.owner)
    errors, form = error.errors if error else [], typed or {}
    changed = next((limit for limit in limits if limit.name == change), None)
    values: dict[str, Any] = {
        "limits": [(limit, uses.of.get(limit.name) or LimitUse()) for limit in limits],
        "is_cut": uses.is_cut,
        "changed": changed and changed.name,
        "form": form or (_typed(changed) if changed else {}),
        "most": MAX_COUNT,
        "error": error,
        "refused": refused,
        "wrong": by_field(errors, depth=2),
        "reasons": [each for each in errors if not by_field([each], depth=2).keys() & form.keys()],
    }
    return page(request, "limits.html", values, error or refused)


def _typed(limit: LimitState) -> dict[str, Any]:
    """Return the fields of the form that say what the limit is."""
    rates = {"rate": limit.rate, "rate_per_key": limit.rate_per_key}
    return {
        "name": limit.name,
        "concurrency": limit.concurrency,
        "concurrency_per_key": limit.concurrency_per_key,
        "on_excess": limit.on_excess.value,
        **{f"{name}_count": rate.count for name, rate in rates.items() if rate},
        **{f"{name}_period_seconds": f"{rate.period_seconds:g}" for name, rate in rates.items() if rate},
    }


def _bounds(typed: dict[str, str]) -> dict[str, Any]:
    """Return the fields of LimitWrite. What is empty bounds nothing; what is no number stays for its check."""
    given = {name: value for name, text in typed.items() if name not in _TEXTS and (value := number(text)) != ""}
    bounds: dict[str, Any] = {name: given.get(name) for name in ("concurrency", "concurrency_per_key")}
    for name in ("rate", "rate_per_key"):
        parts = {part: given[f"{name}_{part}"] for part in ("count", "period_seconds") if f"{name}_{part}" in given}
        bounds[name] = parts or None
    return {**bounds, "on_excess": typed["on_excess"]}
