"""The language of messages: Chinese where the locale of the environment is, else English."""

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

# POSIX: the first of these that is set decides.
VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")


def language() -> str:
    """Return `zh` or `en`."""
    locale = next((value for name in VARIABLES if (value := os.environ.get(name))), "")
    return "zh" if locale.startswith("zh") else "en"


@cache
def _translations(name: str) -> dict[str, str]:
    if name == "en":
        return {}
    found: dict[str, str] = json.loads(Path(__file__).with_name(f"{name}.json").read_text(encoding="utf-8"))
    return found


def t(text: str, /, **values: Any) -> str:
    """Return an English text in the language of the environment, with these values in its places `{name}`."""
    said = _translations(language()).get(text, text)
    return said.format(**values) if values else said
