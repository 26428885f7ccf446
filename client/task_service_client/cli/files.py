"""`files`: what tasks read, and what they have saved."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from task_service_client.cli.answers import read, rows, shape
from task_service_client.cli.columns import ARTIFACTS, FILES
from task_service_client.cli.data import write_list, write_one
from task_service_client.cli.ids import TASKS, checked_id
from task_service_client.cli.language import t
from task_service_client.cli.options import argument, option
from task_service_client.cli.run import Run

if TYPE_CHECKING:
    from task_service_client import Client

PATH = "/api/v1/files/"


def ls(
    run: Run,
    task: Annotated[str | None, option("--task", "What this task has saved.", "ID")] = None,
) -> None:  # fmt: skip
    """List files, or the artifacts of a task."""
    with run.client() as client:
        if task is None:
            write_list(run, rows(client, PATH, shape(id=str), {"limit": 100}), FILES)
        else:
            write_list(run, rows(client, f"{TASKS}{checked_id(task)}/artifacts", shape(id=str)), ARTIFACTS)


def upload(
    run: Run,
    paths: Annotated[list[str], argument("PATH...", "Files; - is stdin.")],
    name: Annotated[str | None, option("--name", "Its name, of one file.")] = None,
) -> None:
    """Upload files, and print their ids."""
    from task_service_client.cli.exits import Refused

    if name is not None and len(paths) > 1:
        raise Refused(t("--name goes with one file."))
    with run.client() as client:
        found = [uploaded(run, client, path, name) for path in paths]
    if run.output == "text" and not run.fields:
        print(*(each["id"] for each in found), sep="\n")
    elif len(found) == 1:
        write_one(run, found[0])
    else:
        write_list(run, found, FILES)


def download(
    run: Run,
    file_id: Annotated[str, argument("ID", "A file or an artifact.")],
    to: Annotated[str, argument("[PATH]", "A file or a directory; - is stdout.")] = ".",
    force: Annotated[bool, option("--force", "Overwrite what a directory has of this name.")] = False,
) -> None:  # fmt: skip
    """Download a file or an artifact.

    It is there whole or not at all.
    """
    import shutil
    import tempfile

    wanted = checked_id(file_id)
    with run.client() as client:
        if to != "-":
            path = client.download(wanted, _target(client, wanted, Path(to), is_forced=force))
            run.say(t("Written: {path}", path=path)) if sys.stdout.isatty() else print(path)
            return
        with tempfile.TemporaryDirectory() as folder:
            with client.download(wanted, Path(folder) / "content").open("rb") as content:
                shutil.copyfileobj(content, sys.stdout.buffer)
            sys.stdout.flush()


def _target(client: "Client", file_id: str, to: Path, *, is_forced: bool) -> Path:
    """Return the path to write to: in a directory the name that the server gives. Raises Refused where it is unfit."""
    from task_service_client.cli import exits
    from task_service_client.cli.exits import Refused
    from task_service_client.contents import target_of

    if not to.is_dir():
        return to
    name = str(read(client.request("GET", PATH + file_id), shape(name=str))["name"])
    try:
        return target_of(to, name)
    except FileExistsError:
        if is_forced and (to / name).is_file() and not (to / name).is_symlink():  # the server has chosen the name
            return to / name
        said = t("{path} is there: name the file to write to, or add --force.", path=to / name)
        raise Refused(said, exits.FAILED) from None
    except ValueError:
        said = t("The file has the name {name}, which is not taken here: name the file to write to.", name=repr(name))
        raise Refused(said, exits.FAILED) from None


def uploaded(run: Run, client: "Client", path: str, name: str | None = None) -> dict[str, Any]:
    """Upload a file, and return what the service knows of it. `-` is stdin. Raises Refused where there is none."""
    from io import BytesIO

    from task_service_client.cli.exits import Refused

    try:
        source: Any = BytesIO(sys.stdin.buffer.read()) if path == "-" else Path(path).expanduser()
        file = client.upload(source, name or ("stdin" if path == "-" else None))
    except OSError as error:
        raise Refused(f"{path}: {error.strerror or error}") from None
    if run.has_bars:
        run.say(t("Uploaded: {path} as {id}", path=path, id=file.id))
    return file.model_dump(mode="json")
