"""The languages of what the service says: a text with its gaps, its translation, and which language a reader prefers.

An error carries its text in English, and the answer says it in the reader's language. A text is its own key: the files
`translations/zh.json` have the Chinese of each template. One that is missing is said in English.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from app.errors import Text

NAMES = {"en": "English", "zh": "中文"}
DEFAULT = "en"
CHINESE = "zh"
_QUALITY = re.compile(r"q\s*=\s*([01](?:\.\d{0,3})?)")
_MOST_LANGUAGES = 20  # of Accept-Language that are looked at


def preferred(accept_language: str) -> str:
    """Return the code of NAMES to which Accept-Language (RFC 9110 §12.5.4) gives most weight; DEFAULT if to none."""
    best, most = DEFAULT, 0.0
    for part in accept_language.split(",")[:_MOST_LANGUAGES]:
        language, _, weight = part.partition(";")
        code = language.strip().partition("-")[0].lower()
        quality = _QUALITY.fullmatch(weight.strip())
        if code in NAMES and (value := float(quality[1]) if quality else 1.0) > most:
            best, most = code, value
    return best


def translated(text: str, texts: Mapping[str, str]) -> str:
    """Return the text by these translations, by the English templates. What is one of them in a gap is translated."""
    if not isinstance(text, Text):
        return texts.get(text, text)
    template = texts.get(text.template, text.template)
    gaps = [translated(gap, texts) if isinstance(gap, str) else gap for gap in text.gaps]
    return template.format(*gaps) if gaps else template


def in_language(text: str, code: str) -> str:
    """Return the text of an error in the language with this code of NAMES."""
    return text if code == DEFAULT else translated(text, texts_of("app.core", code))


@cache
def texts_of(package: str, code: str) -> dict[str, str]:
    """Return the translations of a package's texts, by the English ones: those of `app.core` are of errors."""
    if code == DEFAULT:
        return {}
    loaded: dict[str, str] = json.loads((files(package) / "translations" / f"{code}.json").read_text(encoding="utf-8"))
    return loaded
