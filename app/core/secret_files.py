"""Secrets as files: `NAME_FILE` names the file that holds NAME, as Docker and Kubernetes mount secrets.

Imports nothing but the standard library: the launcher reads them, too.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

SUFFIX = "_FILE"
MOST_BYTES = 64 * 1024


class SecretFileError(ValueError):
    """A `NAME_FILE` that stands beside NAME, or whose file holds no secret. The text names both, and no value."""


def read_secret_files(names: Iterable[str], given: Mapping[str, str]) -> dict[str, str]:
    """Return the secrets of these names whose files are named by the variables in `given`, without the last newline.

    Raises SecretFileError.
    """
    return {name: _read(name, given) for name in names if given.get(name + SUFFIX)}


def _read(name: str, given: Mapping[str, str]) -> str:
    variable, path = name + SUFFIX, given[name + SUFFIX]
    if given.get(name):
        raise SecretFileError(f"{name} and {variable} are both set: leave one of them out")
    try:
        with Path(path).open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        text = content.decode("utf-8").rstrip("\r\n")
    except OSError as error:
        raise SecretFileError(f"{variable}: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SecretFileError(f"{variable}: {path} is not in UTF-8") from None
    if not text:
        raise SecretFileError(f"{variable}: {path} is empty")
    if len(content) > MOST_BYTES:
        raise SecretFileError(f"{variable}: {path} is larger than {MOST_BYTES} bytes: no secret is")
    return text
