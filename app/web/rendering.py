"""Renders the templates, with what every page shows: the reader, the choices, the way to the static files."""

import json
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from app.api.http.body_route import BodyRoute
from app.api.http.query_parameters import unknown
from app.core.languages import NAMES
from app.core.version import VERSION
from app.services.tasks.search import said_as
from app.web import cookies, languages
from app.web.compression import compressed
from app.web.languages import Language
from app.web.moments import in_zone
from app.web.static_files import static_version


class NavigationEntry(NamedTuple):
    """A page that every page names at its top. `text` and `text_to_admins` are texts of the translations."""

    position: int
    path: str
    text: str
    text_to_admins: str | None = None
    to_admins_alone: bool = False


# Of pages that are not below the entry of the navigation that they belong to. An account belongs to none.
_SECTIONS = {"/bulk": "/tasks", "/new": "/tasks", "/numbers": "/", "/workers": "/queues"}
THEMES = ("system", "light", "dark")
TIMES = ("utc", "local")
# `same-origin`: with the API's `no-referrer`, browsers would send `Origin: null` with forms.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@cache
def _environment(code: str) -> Environment:
    environment = Environment(
        loader=PackageLoader("app.web"),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,  # no look at the files for each page
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    chosen = languages.language(code)
    # Plain functions of plain text, which is escaped where it is shown: jinja's own make markup of it, and format `%`.
    environment.globals |= {"_": chosen.gettext, "gettext": chosen.gettext, "ngettext": chosen.ngettext}
    environment.policies["json.dumps_kwargs"] = {}  # in the order in which they are named
    environment.filters |= {
        "number": "{:,}".format,
        "duration": lambda seconds: languages.duration(seconds, chosen.gettext),
        "age": lambda moment: languages.age((datetime.now(UTC) - moment).total_seconds(), chosen.gettext),
        # Of errors: texts that no template names, some of them with what a client sent.
        "said": chosen.gettext,
        "iso": _iso,
        "said_as": said_as,
        "clock": _clock,
        "in_zone": in_zone,
        "compact": lambda value: json.dumps(value, ensure_ascii=False),
        "part": lambda value: quote(str(value), safe=""),
    }
    environment.globals["parts"] = environment.get_template("parts.html").module
    return environment


def page(request: Request, template: str, values: dict[str, Any], status: int = 200) -> Response:
    """Return the page of a template, which is given these values; compressed here, and not in the event loop."""
    chosen = language_of(request)
    html = _environment(chosen.code).get_template(template).render(_shell(request, chosen) | values).encode()
    answer = compressed(request, html, "text/html", HEADERS, status)
    if cookies.NOTICE in request.cookies:
        cookies.delete_notice(request, answer)  # it has been said
    return answer


def redirect(request: Request, path: str, done: str | None = None) -> Response:
    """Send the browser to a page below `/ui` after a change, with a GET. That page says what is `done`."""
    answer = RedirectResponse(base_of(request) + path, status_code=303, headers=HEADERS)
    if done is not None:
        cookies.set_notice(request, answer, done)
    return answer


def base_of(request: Request) -> str:
    """Return the path of the pages as the browser sees it, without a slash at the end."""
    return str(request.scope.get("root_path", "")).rstrip("/")


def language_of(request: Request) -> Language:
    return languages.negotiate(request.cookies.get("language"), request.headers.get("accept-language", ""))


def _shell(request: Request, chosen: Language) -> dict[str, Any]:
    base, theme, times = base_of(request), request.cookies.get("theme"), request.cookies.get("times")
    is_read = request.method in {"GET", "HEAD"}
    return {
        "user": request.scope["state"].get("principal"),
        "base": base,
        "static": f"{base}/static/{static_version()}",
        "navigation": getattr(request.app.state, "navigation", ()),
        "here": request.url.path.removeprefix(base) + ("?" + request.url.query).rstrip("?") if is_read else "/",
        "section": _section(request.url.path.removeprefix(base)),
        "is_read": is_read,
        # A choice leads away from the answer to a form, which cannot be asked for again and may show a secret.
        "has_choices": is_read,
        "ignored": _ignored(request) if is_read else [],
        "notice": request.cookies.get(cookies.NOTICE),
        "language": chosen.code,
        "languages": NAMES,
        "theme": theme if theme in THEMES else THEMES[0],
        "times": times if times in TIMES else TIMES[0],
        "now": datetime.now(UTC),
        "version": VERSION,
    }


def _section(path: str) -> str:
    """Return the path of the entry of the navigation below which a page is, such as `/tasks` for a task."""
    first = "/" + path.split("/")[1] if path.startswith("/") else path
    return _SECTIONS.get(first, first)


def _ignored(request: Request) -> list[str]:
    """Return the names in the query that the page does not read, which the reader may have misspelt."""
    route = request.scope.get("route")
    return unknown(request.query_params, route.query_parameters) if isinstance(route, BodyRoute) else []


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _clock(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
