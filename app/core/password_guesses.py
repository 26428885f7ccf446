"""Says how easily a password is guessed. Run by its path: `credentials.py` starts it.

A process of its own, because zxcvbn is pure Python and keeps 14 MiB of word lists: neither the interpreter's lock nor
the memory of a serving process is taken. It reads `{"password": …, "own_words": […]}` and writes
`{"score": 0–4, "advice": …}`, both JSON.
"""

import json
import sys
import unicodedata
from typing import Any

import zxcvbn
from zxcvbn import matching

# zxcvbn takes 72 at most. What is strong in its first characters is strong as a whole.
LONGEST, SHORTEST = 64, 15
# Characters squared × spellings without l33t: the dictionary look-ups of one check. As many take 0.1 s.
MOST_LOOKUPS = 200_000
OWN_WORDS_ADVICE = "It contains your name, your e-mail address or the name of this service."


def examined(password: str) -> str:
    """Return the part of the password that is checked, in one width and form of each letter.

    zxcvbn tries every way to read `4`, `@`, `1`, `!`, … as letters. 64 characters that hold all of them would take it
    seconds, so fewer characters of such a password are checked.
    """
    text = unicodedata.normalize("NFKC", password)[:LONGEST]
    while len(text) > SHORTEST and len(text) ** 2 * _readings(text) > MOST_LOOKUPS:
        text = text[: max(SHORTEST, len(text) * 3 // 4)]
    return text


def _readings(text: str) -> int:
    return len(matching.enumerate_l33t_subs(matching.relevant_l33t_subtable(text, matching.L33T_TABLE)))


def judge(password: str, own_words: list[str]) -> dict[str, Any]:
    """Return zxcvbn's score (0–4; 3: more than 10⁸ guesses) and its advice in plain sentences, which repeat no part."""
    found = zxcvbn.zxcvbn(examined(password), own_words)
    own = any(match.get("dictionary_name") == "user_inputs" for match in found["sequence"])
    sentences = [OWN_WORDS_ADVICE if own else "", found["feedback"]["warning"], *found["feedback"]["suggestions"]]
    return {"score": found["score"], "advice": " ".join(filter(None, sentences))}


if __name__ == "__main__":
    json.dump(judge(**json.load(sys.stdin)), sys.stdout)
