"""What the library says, in the language of the reader: it makes its texts in English."""

import re
from functools import cache

from task_service_client.cli.language import language, t

# As they stand in the library; what a place holds ends where the text goes on.
REASONS = (
    "the login has ended: log in again",
    "the server gave no reason",
    "the URL of a server has no user, no password, no ? and no #",
    "{url} is no URL of a server: it begins with http:// or https://",
    "the API key holds characters that no key has: copy it again",
    "another process holds the login of the profile {name} for too long",
    "{method} {path}: the stream ends whenever it is opened",
    "{method} {path}: the answer ended early ({reason})",
    "{method} {path}: the request is no valid HTTP",
    "{url} is at {place}: name that server",
    "{url} is answered with {status}, and not by this service",
    "{path} holds no profiles: delete it and log in again",
    "the keyring does not give the tokens of the profile {name} ({reason}): unlock it",
    "{path} is no regular file, and stays as it is: name another one",
    "{path}: what came has another SHA-256 than the file {id}: download it again",
)
# In characters: a longer text is a server's, and takes its time to be compared.
MOST = 2000


def reason_of(error: object) -> str:
    """Return the text of an error, or a text, translated where the library has made it."""
    text = str(error)
    if language() == "en" or len(text) > MOST:
        return text
    for reason in REASONS:
        if found := _pattern(reason).fullmatch(text):
            return t(reason, **found.groupdict())
    return text


@cache
def _pattern(reason: str) -> re.Pattern[str]:
    parts = re.split(r"\{([a-z]+)\}", reason)
    return re.compile(
        "".join(f"(?P<{part}>.+)" if number % 2 else re.escape(part) for number, part in enumerate(parts)), re.DOTALL
    )
