"""The two languages of errors and pages: which one a reader prefers, and the Chinese of each error text.

A text is its own key. One with `{}` in it stands for all texts that have something else in its place.
"""

import json
import re
from functools import cache
from importlib.resources import files

NAMES = {"en": "English", "zh": "中文"}
DEFAULT = "en"
CHINESE = "zh"
_QUALITY = re.compile(r"q\s*=\s*([01](?:\.\d{0,3})?)")
_BETWEEN_SENTENCES = re.compile(r"(?<=\.) ")
_OR, _OR_IN_CHINESE = re.compile(r"(?<=') or (?=')"), " 或 "
_LONGEST = 1000  # of a text that has gaps: the patterns look at each part of it again and again
_MOST_SENTENCES = 10  # each is compared with all texts that have gaps
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


@cache
def error_texts() -> dict[str, str]:
    """Return the Chinese of the error texts, by the English ones."""
    loaded: dict[str, str] = json.loads((files("app.core") / "translations" / "zh.json").read_text(encoding="utf-8"))
    return loaded


def in_chinese(text: str) -> str:
    """Return an error text in Chinese, or as it is where there is no translation."""
    known = error_texts().get(text)
    if known is not None:
        return known
    if len(text) > _LONGEST:
        return text
    for pattern, translated in _templates():
        if found := pattern.fullmatch(text):
            return translated.format(*map(_gap_in_chinese, found.groups()))
    place, separator, rest = text.partition("]: ")
    if separator and place.startswith("tasks["):
        return f"{place}]：{in_chinese(rest)}"
    return _sentences_in_chinese(text)


def _gap_in_chinese(text: str) -> str:
    """Return what stands in the gap of a text: the words of this service in it in Chinese, all else as it is."""
    text = error_texts().get(text, text)
    return _OR.sub(_OR_IN_CHINESE, text) if _OR.search(text) else text.replace(", did you mean ", "，是否想写 ")


def _sentences_in_chinese(text: str) -> str:
    """Return a text of several sentences in Chinese, where each of them has a translation of its own."""
    sentences = [sentence.removesuffix(".") for sentence in _BETWEEN_SENTENCES.split(text)]
    if (len(sentences) == 1 and sentences[0] == text) or len(sentences) > _MOST_SENTENCES:
        return text
    translated = [in_chinese(sentence) for sentence in sentences]
    return text if any(map(str.__eq__, sentences, translated)) else "".join(f"{each}。" for each in translated)


@cache
def _templates() -> tuple[tuple[re.Pattern[str], str], ...]:
    """Return the texts with gaps, the longest first: the most of it is fixed."""
    with_gaps = sorted((text for text in error_texts() if "{}" in text), key=len, reverse=True)
    patterns = ("(.*?)".join(map(re.escape, text.split("{}"))) for text in with_gaps)
    texts = zip(patterns, with_gaps, strict=True)
    return tuple((re.compile(pattern, re.DOTALL), error_texts()[text]) for pattern, text in texts)
