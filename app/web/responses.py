"""The responses of the pages: templates, redirects, static files; compressed where a browser takes that.

First come the languages; the last part tells how JSON is shown.
"""

import gzip
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from app.api.http.body_route import BodyRoute
from app.api.http.problems import status_of
from app.api.http.router import unknown_parameters
from app.core.drawing import rects
from app.core.languages import DEFAULT, NAMES, in_language, preferred, texts_of
from app.core.version import VERSION
from app.errors import ServiceError
from app.schedules.zones import UnknownZone, zone_info
from app.services.tasks.search import said_as
from app.web import access

# -- The two languages: their texts, ages and durations. Both write numbers alike --------------------------------------

_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


@dataclass(frozen=True)
class Language:
    """One language. `texts` are translations by the English text, which is the message's id."""

    code: str
    texts: dict[str, str]

    def gettext(self, text: str) -> str:
        """Return the text in this language; the English one where a translation is missing."""
        return self.texts.get(text) or in_language(text, self.code)

    def ngettext(self, one: str, many: str, number: int) -> str:
        """Return the text for this number. The translations have that for many: Chinese has no other."""
        return one if number == 1 and self.code == DEFAULT else self.gettext(many)


@cache
def language_of_code(code: str) -> Language:
    """Return the language with this code of NAMES."""
    return Language(code, texts_of("app.core", code) | texts_of("app.web", code))


def negotiated_language(chosen: str | None, accept_language: str) -> Language:
    """Return the reader's choice, else the first of Accept-Language (RFC 9110 §12.5.4) that there is."""
    if chosen in NAMES:
        return language_of_code(chosen)
    return language_of_code(preferred(accept_language))


def age_text(seconds: float, gettext: Callable[[str], str]) -> str:
    """Return how long ago it was, in its largest unit: `3 min ago`; of a negative number when it will be: `in 7 d`."""
    if abs(seconds) < 1:
        return gettext("now")
    name, size = next((unit, size) for unit, size in _UNITS if abs(seconds) >= size)
    time = f"{abs(seconds) // size:.0f} {gettext(name)}"
    return gettext("{time} ago" if seconds > 0 else "in {time}").format(time=time)


def duration_text(seconds: float | None, gettext: Callable[[str], str]) -> str:
    """Return a duration as `12 ms`, `3.2 s`, or its two largest units: `3 min 12 s`."""
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{max(seconds, 0) * 1000:.0f} {gettext('ms')}"
    if seconds < 10:  # noqa: PLR2004 (seconds)
        return f"{seconds:.1f} {gettext('s')}"
    rest = int(seconds)
    parts: list[str] = []
    for name, size in _UNITS:
        number, rest = divmod(rest, size)
        parts += [f"{number} {gettext(name)}"] if number or parts else []
    return " ".join(part for part in parts[:2] if not part.startswith("0 "))


# -- Answers, compressed where the browser takes that ------------------------------------------------------------------

GZIP_LEVEL = 6  # the default of zlib; that of gzip is 9
# A coding and its weight (RFC 9110 §12.4.2).
_CODING = re.compile(r"([!#$%&'*+.^_`|~\w-]+)(?:[ \t]*;[ \t]*q=([01](?:\.[0-9]{0,3})?))?", re.ASCII | re.IGNORECASE)


def compressed(request: Request, content: bytes, media_type: str, headers: dict[str, str], status: int) -> Response:
    """Return an answer with this content, compressed where the browser takes that."""
    headers = headers | {"Vary": "Accept-Encoding"}
    if prefers_gzip(",".join(request.headers.getlist("accept-encoding"))):
        content, headers = gzip.compress(content, GZIP_LEVEL, mtime=0), headers | {"Content-Encoding": "gzip"}
    return Response(content, status, headers, media_type)


def prefers_gzip(accept_encoding: str) -> bool:
    """Return whether Accept-Encoding (RFC 9110 §12.5.3) takes gzip, and the plain content not rather.

    An entry of another form says nothing.
    """
    found = (_CODING.fullmatch(part.strip(" \t")) for part in accept_encoding.split(","))
    weights = {match[1].lower(): float(match[2] or 1) for match in found if match}
    others = weights.get("*", 0)
    gzipped = weights.get("gzip", weights.get("x-gzip", others))
    return gzipped > 0 and gzipped >= weights.get("identity", 0)


# -- The files that the pages load, under a path that changes with their content: browsers keep them for a year --------

_STATIC_TYPES = {
    "app.css": "text/css",
    "live.js": "text/javascript",
    "charts.js": "text/javascript",
    "copy.js": "text/javascript",
    "task.js": "text/javascript",
    "tasks.js": "text/javascript",
    "task_form.js": "text/javascript",
    "schedule_form.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
_STATIC_HEADERS = {"Cache-Control": "public, max-age=31536000, immutable"}

static_router = APIRouter()


@cache
def static_files() -> dict[str, bytes]:
    """Return the files by name, read once."""
    return {name: files("app.web").joinpath("static", name).read_bytes() for name in _STATIC_TYPES}


@cache
def static_version() -> str:
    """Return a digest of all files."""
    digest = hashlib.sha256()
    for name, content in static_files().items():
        digest.update(name.encode() + b"\0" + content)
    return digest.hexdigest()[:12]


@static_router.get("/static/{version}/{name}")
async def static_file(request: Request, version: str, name: str) -> Response:
    """Send a file of the pages. A page from before an upgrade may ask for another version than the current one."""
    del version
    if name not in _STATIC_TYPES:
        raise HTTPException(404, "Not Found")
    return compressed(request, static_files()[name], _STATIC_TYPES[name], _STATIC_HEADERS, 200)


# -- A time as the clock of a zone shows it ----------------------------------------------------------------------------


def zone_of(name: str) -> tzinfo:
    """Return the zone of this name; UTC where it is gone."""
    try:
        return zone_info(name)
    except UnknownZone:
        return UTC


def in_zone(moment: datetime, of: tzinfo) -> datetime:
    """Return the moment as the clock of the zone shows it; in UTC at the ends of time."""
    try:
        return moment.astimezone(of)
    except OverflowError:
        return moment.astimezone(UTC)


# -- Renders the templates, with what every page shows: the reader, the choices, the way to the static files -----------


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
    chosen = language_of_code(code)
    # Plain functions of plain text, which is escaped where it is shown: jinja's own make markup of it, and format `%`.
    environment.globals |= {"_": chosen.gettext, "gettext": chosen.gettext, "ngettext": chosen.ngettext}
    environment.policies["json.dumps_kwargs"] = {}  # in the order in which they are named
    environment.filters |= {
        "number": "{:,}".format,
        "duration": lambda seconds: duration_text(seconds, chosen.gettext),
        "age": lambda moment: age_text((datetime.now(UTC) - moment).total_seconds(), chosen.gettext),
        # Of errors: texts that no template names, some of them with what a client sent.
        "said": chosen.gettext,
        "iso": _iso,
        "said_as": said_as,
        "rects": rects,
        "clock": _clock,
        "in_zone": in_zone,
        "compact": lambda value: json.dumps(value, ensure_ascii=False),
        "part": lambda value: quote(str(value), safe=""),
    }
    environment.globals["parts"] = environment.get_template("parts.html").module
    return environment


def page(
    request: Request, template: str, values: dict[str, Any], error: ServiceError | None = None, *, status: int = 200
) -> Response:
    """Return the page of a template, which is given these values; compressed here, and not in the event loop.

    An `error` that the page shows gives the status.
    """
    status = status if error is None else status_of(type(error))
    chosen = language_of(request)
    html = _environment(chosen.code).get_template(template).render(_shell(request, chosen) | values).encode()
    answer = compressed(request, html, "text/html", HEADERS, status)
    if access.NOTICE in request.cookies:
        access.delete_notice(request, answer)  # it has been said
    return answer


def redirect(request: Request, path: str, done: str | None = None) -> Response:
    """Send the browser to a page below `/ui` after a change, with a GET. That page says what is `done`."""
    answer = RedirectResponse(base_of(request) + path, status_code=303, headers=HEADERS)
    if done is not None:
        access.set_notice(request, answer, done)
    return answer


def base_of(request: Request) -> str:
    """Return the path of the pages as the browser sees it, without a slash at the end."""
    return str(request.scope.get("root_path", "")).rstrip("/")


def language_of(request: Request) -> Language:
    return negotiated_language(request.cookies.get("language"), request.headers.get("accept-language", ""))


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
        "notice": request.cookies.get(access.NOTICE),
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
    return unknown_parameters(request.query_params, route.query_parameters) if isinstance(route, BodyRoute) else []


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _clock(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


# -- Indented JSON for a page, in bounds: blanks multiply a deep value, and a page is held in memory as a whole --------

MAX_JSON_BYTES = 256 * 1024

_ENCODER = json.JSONEncoder(ensure_ascii=False, indent=2)


class ShownJSON(NamedTuple):
    """The text, and whether it ends before its end."""

    text: str
    is_cut: bool


class JSONTexts:
    """All JSON of one page: MAX_JSON_BYTES of text at most, of one value half of what is left."""

    def __init__(self) -> None:
        self._whole = MAX_JSON_BYTES

    def show(self, value: Any) -> ShownJSON:
        """Return the value as indented JSON, up to half of what is left for the page. No more than that is computed."""
        self._left = self._whole // 2
        shown = self._show(value)
        self._whole -= self._whole // 2 - self._left
        return shown

    def _show(self, value: Any) -> ShownJSON:
        pieces: list[str] = []
        for piece in _ENCODER.iterencode(value):
            size = len(piece) if piece.isascii() else len(piece.encode())
            if size > self._left:
                pieces.append(piece.encode()[: self._left].decode(errors="ignore"))
                self._left = 0
                return ShownJSON("".join(pieces), is_cut=True)
            pieces.append(piece)
            self._left -= size
        return ShownJSON("".join(pieces), is_cut=False)
