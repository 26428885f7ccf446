"""The two languages of the pages: their texts and durations. Both write numbers alike."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from app.core.languages import DEFAULT, NAMES, in_language, preferred, texts_of

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
def language(code: str) -> Language:
    """Return the language with this code of NAMES."""
    return Language(code, texts_of("app.core", code) | texts_of("app.web", code))


def negotiate(chosen: str | None, accept_language: str) -> Language:
    """Return the reader's choice, else the first of Accept-Language (RFC 9110 §12.5.4) that there is."""
    if chosen in NAMES:
        return language(chosen)
    return language(preferred(accept_language))


def age(seconds: float, gettext: Callable[[str], str]) -> str:
    """Return how long ago it was, in its largest unit: `3 min ago`; of a negative number when it will be: `in 7 d`."""
    if abs(seconds) < 1:
        return gettext("now")
    name, size = next((unit, size) for unit, size in _UNITS if abs(seconds) >= size)
    time = f"{abs(seconds) // size:.0f} {gettext(name)}"
    return gettext("{time} ago" if seconds > 0 else "in {time}").format(time=time)


def duration(seconds: float | None, gettext: Callable[[str], str]) -> str:
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
