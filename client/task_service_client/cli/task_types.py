"""The tasks that a server offers: asked for by `submit`, and kept for the completion of their names."""

import hashlib
import json
import os
import re
import tempfile
import threading
import time
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from task_service_client.cli.answers import read, shape
from task_service_client.cli.exits import Refused
from task_service_client.cli.language import t

if TYPE_CHECKING:
    from task_service_client import Client

TYPES = "/api/v1/tasks/types"
# Names that are older are asked for again, for so long: a person waits for the completion.
FRESH_SECONDS, QUICK_SECONDS = 300.0, 1.0
ANSWER = list[dict[str, Any]]
# Names that are completed. Another one may be submitted, but a shell or a terminal could obey what it holds.
_NAME = re.compile(r"[\w.:-]+")


def fetched(client: "Client", url: str) -> ANSWER:
    """Return the task types of the server, and keep their names."""
    types: ANSWER = read(client.request("GET", TYPES), list[shape(celery_task_name=str, parameters=dict)])  # type: ignore[misc]
    _keep(url, [each["celery_task_name"] for each in types])
    return types


def named(types: ANSWER, name: str) -> dict[str, Any]:
    """Return the type of this name, or of this last part of a name. Raises Refused where there is none, or several."""
    by_name = {each["celery_task_name"]: each for each in types}
    if name in by_name:
        return by_name[name]
    ends = [full for full in by_name if full.endswith(f".{name}")]
    if len(ends) == 1:
        return by_name[ends[0]]
    if ends:
        raise Refused(t("{name} is the end of several names: {names}", name=name, names=", ".join(ends)))
    last_parts = {full.rpartition(".")[2]: full for full in by_name}
    near = get_close_matches(name, [*by_name, *last_parts], n=3)
    hint = t(" Do you mean {names}?", names=", ".join(near)) if near else ""
    raise Refused(t("There is no task {name}.", name=name) + hint)


def completed(incomplete: str) -> Sequence[str]:
    """Return the names that begin so, or whose last part does. It takes a second at most, and never raises."""
    try:
        names = _names()
    except Exception:  # noqa: BLE001 (what it prints would be in the midst of a command line)
        return []
    whole = [name for name in names if name.startswith(incomplete)]
    return whole or sorted({last for name in names if (last := name.rpartition(".")[2]).startswith(incomplete)})


def _names() -> list[str]:
    from task_service_client.requests import url_of

    url = url_of(None)
    kept = _kept(url)
    if kept is None or time.time() - kept["at"] > FRESH_SECONDS:
        asked = threading.Thread(target=_refresh, args=(url,), daemon=True)
        asked.start()
        asked.join(QUICK_SECONDS)
        kept = _kept(url) or kept
    return list(kept["names"]) if kept else []


def _refresh(url: str) -> None:
    """Ask for the names, without a login that may be renewed: the process may end before the new token is saved."""
    from task_service_client import Client, profiles
    from task_service_client.requests import normalised

    try:
        key = os.environ.get("TASK_SERVICE_API_KEY")
        if not key and (profile := profiles.load()) is not None and normalised(profile.url) == url:
            key = profile.api_key or profile.access_token
        if key:
            with Client(url, api_key=key, timeout=QUICK_SECONDS) as client:
                fetched(client, url)
    except Exception:  # noqa: BLE001 (a thread would print it)
        return  # what is kept does


def _kept(url: str) -> dict[str, Any] | None:
    try:
        found = json.loads(_path(url).read_text(encoding="utf-8"))
        return {"at": float(found["at"]), "names": [name for name in found["names"] if _NAME.fullmatch(name)]}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _keep(url: str, names: list[str]) -> None:
    path = _path(url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, written = tempfile.mkstemp(dir=path.parent, prefix=".names-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"at": time.time(), "names": names}, file)
        Path(written).replace(path)
    except OSError:
        return  # a directory that cannot be written: the names are asked for each time


def _path(url: str) -> Path:
    from task_service_client import profiles

    return profiles.directory() / "names" / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.json"
