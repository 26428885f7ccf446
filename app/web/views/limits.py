"""Limits: their bounds, what is in use of them and what waits. Administrators set and delete them here."""

from typing import Annotated, Any

from fastapi import Form, Path, Query, Request, Response

from app.api.deps import SessionDep
from app.api.http.problems import status_of
from app.api.http.router import SlashRouter
from app.api.http.turns import costly
from app.errors import InvalidLimit
from app.models.limit import MAX_COUNT, OnExcess
from app.schemas.json_value import LIMIT_NAME
from app.services.accounts.auth_service import Principal
from app.services.operations import limit_service
from app.services.operations.limit_service import LimitState
from app.services.operations.limit_use import LimitUse, limit_uses
from app.web.access import PageAdmin, PageUser
from app.web.confirming import Confirmed, ask
from app.web.rendering import NavigationEntry, page, redirect

router = SlashRouter()
NAVIGATION = (NavigationEntry(5, "/limits", "Limits"),)

Name = Annotated[str, Path(pattern=LIMIT_NAME)]
Field = Annotated[str, Form(max_length=40)]


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
    rate_seconds: Field = "",
    rate_per_key_count: Field = "",
    rate_per_key_seconds: Field = "",
    on_excess: Field = OnExcess.WAIT.value,
) -> Response:
    """Make a limit, or replace the bounds of one. A new one replaces none."""
    typed = {
        "name": name.strip(),
        "concurrency": concurrency,
        "concurrency_per_key": concurrency_per_key,
        "rate_count": rate_count,
        "rate_seconds": rate_seconds,
        "rate_per_key_count": rate_per_key_count,
        "rate_per_key_seconds": rate_per_key_seconds,
        "on_excess": on_excess,
    }
    try:
        if is_new and any(limit.name == typed["name"] for limit in limit_service.list_limits(db)):
            taken = {"loc": ["name"], "msg": "There is a limit of this name: change that one", "type": "name_taken"}
            raise InvalidLimit(errors=[taken])  # type: ignore[list-item]
        limit_service.put_limit(db, typed["name"], **_bounds(typed))
    except InvalidLimit as error:
        return _limits(request, db, admin, change="" if is_new else typed["name"], typed=typed, error=error)
    return redirect(request, "/limits", "limit_set")


@router.post("/limits/{name}/delete")
def delete_limit(
    request: Request, db: SessionDep, _admin: PageAdmin, name: Name, confirmed: Confirmed = False
) -> Response:  # fmt: skip
    if not confirmed:
        return ask(request, "delete_limit", limit_service.get_limit(db, name).name, "/limits")
    limit_service.delete_limit(db, name)
    return redirect(request, "/limits", "limit_deleted")


def _limits(
    request: Request,
    db: SessionDep,
    user: Principal,
    *,
    change: str = "",
    typed: dict[str, str] | None = None,
    error: InvalidLimit | None = None,
) -> Response:
    limits = limit_service.list_limits(db)
    uses = limit_uses(db, owner=user.owner)
    changed = next((limit for limit in limits if limit.name == change), None)
    values: dict[str, Any] = {
        "limits": [(limit, uses.of.get(limit.name) or LimitUse()) for limit in limits],
        "is_cut": uses.is_cut,
        "changed": changed and changed.name,
        "form": typed or (_typed(changed) if changed else {}),
        "kinds": [kind.value for kind in OnExcess],
        "most": MAX_COUNT,
        "error": error,
        "wrong": _wrong(error) if error else {},
    }
    return page(request, "limits.html", values, 200 if error is None else status_of(type(error)))


def _wrong(error: InvalidLimit) -> dict[str, str]:
    """Return what is wrong, by the field of the form; under an empty name what is of no field."""
    return {"_".join(map(str, each["loc"])).replace("_period", ""): each["msg"] for each in error.errors}


def _typed(limit: LimitState) -> dict[str, Any]:
    """Return the fields of the form that say what the limit is."""
    rates = {"rate": limit.rate, "rate_per_key": limit.rate_per_key}
    return {
        "name": limit.name,
        "concurrency": limit.concurrency,
        "concurrency_per_key": limit.concurrency_per_key,
        "on_excess": limit.on_excess.value,
        **{f"{name}_count": rate.count for name, rate in rates.items() if rate},
        **{f"{name}_seconds": f"{rate.period_seconds:g}" for name, rate in rates.items() if rate},
    }


def _bounds(typed: dict[str, str]) -> dict[str, Any]:
    """Return the fields of LimitWrite. What is empty bounds nothing; what is no number stays for its check."""
    bounds: dict[str, Any] = {name: _number(typed[name]) for name in ("concurrency", "concurrency_per_key")}
    for name in ("rate", "rate_per_key"):
        count, seconds = (_number(typed[f"{name}_{part}"]) for part in ("count", "seconds"))
        given = {"count": count, "period_seconds": seconds}
        bounds[name] = {part: value for part, value in given.items() if value is not None} or None
    return {**bounds, "on_excess": typed["on_excess"]}


def _number(text: str) -> int | float | str | None:
    text = text.strip()
    if not text:
        return None
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        return text
