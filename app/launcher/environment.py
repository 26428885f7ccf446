"""The environment of the parts, and the file `<data-dir>/env` that keeps it.

Given values win; missing secrets are generated once and kept.
"""

import ast
import base64
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from app.core.secret_files import SUFFIX, read_secret_files
from app.launcher.files import write_private_file

HEADING = """\
The environment in which run_server.py started the service. Each start writes it anew. It holds secrets.
In a shell: set -a; . THIS_FILE; set +a"""
DATABASE, BROKER, PASSWORD = "DATABASE_URL", "CELERY_BROKER_URL", "FIRST_ADMIN_PASSWORD"
STORAGE = "STORAGE_URL"
URL = "TASK_SERVICE_URL"  # no setting: the address of the API, for clients and for what the documents have one paste
TASK_MODULES = "TASK_MODULES"
IMPORT_PATH = "PYTHONPATH"  # no setting, but TASK_MODULES may be found there alone
# Which of these name servers that run_server.py has started itself: in a shell that has sourced the file of an earlier
# start, they are gone.
EMBEDDED = "RUN_SERVER_EMBEDDED"
_NOT_INHERITED = ("PYTHONSAFEPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE")
DEFAULTS = {"FIRST_ADMIN_USERNAME": "admin", "FIRST_ADMIN_EMAIL": "admin@example.com"}


class Environment:
    """`given` holds the variables of the environment and `.env`, `kept` the secrets of earlier starts.

    Raises SecretFileError where one of these names a file that holds no secret.
    """

    def __init__(self, root: Path, env_file: Path) -> None:
        self.root, self.env_file = root, env_file
        self.kept = read_env(env_file)
        in_environment = {name: value for name, value in os.environ.items() if value}
        for name in in_environment.pop(EMBEDDED, "").split():
            if in_environment.get(name) == self.kept.get(name):
                in_environment.pop(name, None)
        known, holding_secrets = names_of_settings(), names_of_settings("SecretStr")
        in_environment |= read_secret_files(holding_secrets, in_environment)
        in_file = read_env(root / ".env")
        in_file |= read_secret_files(holding_secrets, in_file)
        self.given = {**in_file, **in_environment}
        self.values = {name: value for name, value in in_environment.items() if name in known}
        if IMPORT_PATH in in_environment:
            self.values[IMPORT_PATH] = _absolute(in_environment[IMPORT_PATH])
        for name in (DATABASE, BROKER, "CELERY_RESULT_BACKEND"):
            if name in self.given:
                self.values[name] = self.given[name]
        files = (env_file.parent / "files").absolute().as_uri()
        self.values[STORAGE] = self.given.get(STORAGE) or files
        self.values["SECRET_KEY"] = self._given_kept_or("SECRET_KEY", secrets.token_urlsafe(48))
        made = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        self.values["WEBHOOK_SECRET"] = self._given_kept_or("WEBHOOK_SECRET", made)
        for name, default in DEFAULTS.items():
            self.values[name] = self._given_kept_or(name, default)
        self.values[PASSWORD] = self._given_kept_or(PASSWORD, secrets.token_urlsafe(12))

    def _given_kept_or(self, name: str, default: str) -> str:
        return self.given.get(name) or self.kept.get(name) or default

    @property
    def password_was_given(self) -> bool:
        """Return whether the environment or `.env` names the first administrator's password."""
        return PASSWORD in self.given

    @property
    def password_is_new(self) -> bool:
        """Return whether it was generated now. An administrator that exists already has another password then."""
        return PASSWORD not in self.given and PASSWORD not in self.kept

    def name_embedded(self, name: str, url: str) -> None:
        """Have this variable name a server that was started for this run."""
        self.values[name] = url
        self.values[EMBEDDED] = " ".join([*self.values.get(EMBEDDED, "").split(), name])

    def write(self) -> None:
        """Replace `<data-dir>/env`."""
        write_env(self.env_file, self.values, HEADING)

    def task_packages(self) -> set[str]:
        """Return the packages of TASK_MODULES, which is a list with commas or one of JSON."""
        return {module.partition(".")[0] for module in re.findall(r"[\w.]+", self.given.get(TASK_MODULES, ""))}

    def import_path(self) -> list[str]:
        """Return the folders in which the parts find modules, beside those of Python itself."""
        return [str(self.root), *filter(None, self.values.get(IMPORT_PATH, "").split(os.pathsep))]

    def for_parts(self) -> dict[str, str]:
        """Return the complete environment of a part. Parts run in the project's root, where Python finds `app`."""
        return {**self._inherited(), **self.values, "PYTHONUNBUFFERED": "1"}

    def for_imports(self) -> dict[str, str]:
        """Return the environment of the process that imports for the parts, outside of the project's root."""
        return {**self._inherited(), IMPORT_PATH: os.pathsep.join(self.import_path()), "PYTHONUNBUFFERED": "1"}

    def _inherited(self) -> dict[str, str]:
        """Remove what Python would not find the application with; keep what it has compiled, in any case."""
        left_out = {*_NOT_INHERITED, *(name + SUFFIX for name in names_of_settings("SecretStr"))}
        inherited = {name: value for name, value in os.environ.items() if name not in left_out}
        if not os.access(self.root / "app", os.W_OK):
            inherited.setdefault("PYTHONPYCACHEPREFIX", str(self.env_file.parent.absolute() / "pycache"))
        return inherited


def _absolute(import_path: str) -> str:
    """Return the same folders for a process with another working directory."""
    return os.pathsep.join(str(Path.cwd() / folder) for folder in import_path.split(os.pathsep))


def names_of_settings(of: str = "") -> set[str]:
    """Return the names of the service's settings, read from their source; those whose types name `of`, if it is given.

    Imported, they would bring pydantic: 10 MiB of a process that uses nothing else of it.
    """
    source = Path(__file__).resolve().parents[1] / "core" / "setting_fields.py"
    classes = [each for each in ast.parse(source.read_text(encoding="utf-8")).body if isinstance(each, ast.ClassDef)]
    fields = [line for each in classes for line in each.body if isinstance(line, ast.AnnAssign)]
    return {
        field.target.id.upper()
        for field in fields
        if isinstance(field.target, ast.Name) and of in ast.unparse(field.annotation)
    }


# -- Reads and writes files of KEY=VALUE lines that a shell (`set -a; . file`) and python-dotenv read alike ------------
# Both read bare words, single quotes around text without `'` and `\`, and double quotes with `\\` and `\"` alike. No
# form works in both for a value that has a `$` and also a quote or a backslash: a comment takes the place of its line.

BARE_VALUE = re.compile(r"[A-Za-z0-9_./:@%+,=-]+")
VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def quoted_value(value: str) -> str | None:
    """Return the value in a form that both read back unchanged; None when there is none."""
    if BARE_VALUE.fullmatch(value):
        return value
    if "${" in value or "\0" in value or "\r" in value:
        return None  # python-dotenv expands ${…} inside any quotes, and reads a carriage return as a newline
    if "'" not in value and "\\" not in value:
        return f"'{value}'"
    if "$" in value or "`" in value or value.endswith("\\"):
        return None  # python-dotenv does not know \\$, and takes \\\\" at the end for an escaped quote
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def render_env(values: Mapping[str, str], heading: str) -> str:
    """Return the text of a file with these values, below the heading as comments."""
    lines = [f"# {line}" for line in heading.splitlines()]
    for name, value in values.items():
        text = quoted_value(value)
        lines.append(f"# {name}: its value cannot be written in this file" if text is None else f"{name}={text}")
    return "\n".join(lines) + "\n"


def write_env(path: Path, values: Mapping[str, str], heading: str) -> None:
    """Replace the file, with mode 0600 since it holds secrets. Raises ValueError for a name that no shell takes."""
    if bad := [name for name in values if not VARIABLE_NAME.fullmatch(name)]:
        raise ValueError(f"not the name of a variable: {bad[0]}")
    write_private_file(path, render_env(values, heading))


def read_env(path: Path) -> dict[str, str]:
    """Return the values in the file that are not empty, as python-dotenv reads them; {} when there is no file."""
    from dotenv import dotenv_values

    if not path.is_file():
        return {}
    return {name: value for name, value in dotenv_values(path, encoding="utf-8").items() if value}
