"""Profiles of the command line: a server each, with what signs in to it.

They are in `profiles.json` in the user's directory for configuration, readable by the user alone. Tokens are in the
keyring of the system instead, where the package `keyring` is installed and finds one.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from task_service_client.errors import BadProfile

DEFAULT = "default"
SERVICE = "task-service"
SECRETS = ("api_key", "access_token", "refresh_token")


@dataclass(frozen=True)
class Profile:
    """A server and the credentials for it: an API key, or the tokens of a login. `in_keyring`: these are there."""

    name: str
    url: str
    username: str | None = None
    api_key: str | None = None
    access_token: str | None = None
    refresh_token: str | None = None
    in_keyring: bool = False


def directory() -> Path:
    """Return the directory of the profiles: `TASK_SERVICE_CONFIG`, else the system's usual place."""
    if named := os.environ.get("TASK_SERVICE_CONFIG"):
        return Path(named)
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA", Path.home() / "AppData" / "Roaming")) / SERVICE
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / SERVICE


def chosen_name(name: str | None = None) -> str:
    """Return this name, else `TASK_SERVICE_PROFILE`, else the one that was signed in to last."""
    return name or os.environ.get("TASK_SERVICE_PROFILE") or _read().get("current") or DEFAULT


def load(name: str | None = None) -> Profile | None:
    """Return the profile; None where there is none of this name."""
    name = chosen_name(name)
    fields = _read().get("profiles", {}).get(name)
    if fields is None:
        return None
    try:
        profile = Profile(name, **{key: value for key, value in fields.items() if key in Profile.__dataclass_fields__})
    except (AttributeError, TypeError):
        raise _bad() from None
    texts = (profile.url, profile.username, *(getattr(profile, key) for key in SECRETS))
    if not all(each is None or isinstance(each, str) for each in texts) or profile.url is None:
        raise _bad()
    if not profile.in_keyring:
        return profile
    keyring = _keyring()
    try:
        kept = json.loads((keyring.get_password(SERVICE, name) if keyring is not None else None) or "{}")
    except Exception as error:  # noqa: BLE001 (each backend has its own)
        raise BadProfile(f"the keyring does not give the tokens of the profile {name} ({error}): unlock it") from None
    # Another folder of profiles may have one of this name, of another server.
    secrets = {key: value for key, value in kept.items() if key in SECRETS} if kept.get("url") == profile.url else {}
    return replace(profile, **secrets)


def save(profile: Profile, *, as_current: bool = False) -> Profile:
    """Keep a profile, and return it as it is kept. Hold `lock_of` it meanwhile."""
    profile = replace(profile, in_keyring=_is_in_keyring(profile))
    fields = asdict(profile)
    name = fields.pop("name")
    if profile.in_keyring:
        fields = {key: value for key, value in fields.items() if key not in SECRETS}
    with _locked("profiles"):
        kept = _read()
        kept.setdefault("profiles", {})[name] = {key: value for key, value in fields.items() if value is not None}
        if as_current or "current" not in kept:
            kept["current"] = name
        _write(kept)
    return profile


def delete(name: str) -> None:
    """Forget a profile, as far as there is one."""
    keyring = _keyring()
    with _locked("profiles"):
        kept = _read()
        fields = kept.get("profiles", {}).pop(name, None)
        if fields is not None and fields.get("in_keyring") and keyring is not None:
            keyring.delete_password(SERVICE, name)
        if kept.get("current") == name:
            del kept["current"]
        _write(kept)


def has_keyring() -> bool:
    """Whether tokens should be in a keyring."""
    return _keyring() is not None


def names() -> list[str]:
    return sorted(_read().get("profiles", {}))


class Lock:
    """The lock of an open file, which ends with it."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def take(self) -> bool:
        """Take the lock, unless another process has it. Say whether it is taken."""
        try:
            _lock(self._file.fileno())
        except OSError:
            return False
        return True


@contextmanager
def lock_of(name: str) -> Iterator[Lock]:
    """Open the lock of the tokens of a profile: of all processes of this user, one renews them at a time."""
    with _lock_file(f"profile-{name.encode().hex()}") as lock:
        yield lock


def _read() -> dict[str, Any]:
    try:
        found = json.loads((directory() / "profiles.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise _bad() from None
    if not isinstance(found, dict) or not isinstance(found.get("profiles", {}), dict):
        raise _bad()
    if not isinstance(found.get("current", ""), str):
        raise _bad()
    return found


def _bad() -> BadProfile:
    return BadProfile(f"{directory() / 'profiles.json'} holds no profiles: delete it and log in again")


def _is_in_keyring(profile: Profile) -> bool:
    """Keep the tokens in the keyring; say whether that was possible."""
    keyring = _keyring()
    if keyring is None:
        return False
    kept = {"url": profile.url, **{key: getattr(profile, key) for key in SECRETS}}
    try:
        keyring.set_password(SERVICE, profile.name, json.dumps(kept))
    except Exception:  # noqa: BLE001 (each backend has its own; the file takes them then)
        return False
    return True


def _write(kept: dict[str, Any]) -> None:
    """Replace the file as a whole: a process that is killed leaves the old one."""
    folder = directory()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, written = tempfile.mkstemp(dir=folder, prefix=".profiles-")  # readable by the user alone
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(kept, file, indent=1)
    Path(written).replace(folder / "profiles.json")


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the tokens of a profile, once no other process does."""
    with _locked(f"profile-{name.encode().hex()}"):
        yield


@contextmanager
def _locked(name: str) -> Iterator[None]:
    with _lock_file(name) as lock:
        while not lock.take():
            time.sleep(0.01)  # for as long as another process writes a small file
        yield


@contextmanager
def _lock_file(name: str) -> Iterator[Lock]:
    directory().mkdir(parents=True, exist_ok=True, mode=0o700)
    with (directory() / f"{name}.lock").open("a+") as file:
        yield Lock(file)


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _keyring() -> Any:
    """Return the keyring; None where there is none, or none that keeps anything."""
    try:
        import keyring
    except ImportError:
        return None
    # The backends `fail` and `null` keep nothing, and say so by their priority.
    return keyring if keyring.get_keyring().priority > 0 else None
