"""What Dockerfile and docker-compose.yml promise; `tests/integration/test_sealed_image.py` shows that the service can live so."""

import re
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from app.core.config import Settings
from app.core.version import VERSION
from app.launcher.environment import read_env
from tests.support.containers import (
    ROOT,
    compose,
    dockerfile,
    documented_secrets,
    required_variables,
    resolve,
    roles_script,
)
from tests.support.sources import assert_none, text_of

SERVICES: dict[str, Any] = compose()["services"]
OWN = {name for name, service in SERVICES.items() if service["image"] == "${TASK_SERVICE_IMAGE:-task-service}"}
NAMED = {*compose()["volumes"]}


class TestImage:
    def test_runs_as_a_user_of_its_own(self) -> None:
        last_stage = dockerfile()[max(at for at, (name, _) in enumerate(dockerfile()) if name == "FROM") :]
        users = [text for name, text in last_stage if name == "USER"]
        assert users == ["app"]
        assert any(name == "RUN" and "useradd --system --uid 10001" in text for name, text in last_stage)
        assert last_stage.index(("USER", "app")) > max(at for at, (name, _) in enumerate(last_stage) if name == "COPY")

    def test_installs_from_the_lock_alone(self) -> None:
        installs = [text for name, text in dockerfile() if name == "RUN" and "pip install" in text]
        packages, client, full, *none = [each for text in installs for each in text.split("pip install")[1:]]
        assert none == []
        assert {"--require-hashes", "--only-binary", ":all:"} <= set(packages.split()) & set(full.split())
        assert "-r /tmp/requirements.lock -r /tmp/client/build.lock &&" in " ".join(packages.split())
        assert {"--no-deps", "/tmp/requirements-full.lock"} <= set(full.split())
        # Nothing is fetched for the client: its packages and its build's are installed.
        assert {"--no-deps", "--no-build-isolation", "/tmp/client"} <= set(client.split())
        assert not any("requirements.txt" in text for _, text in dockerfile())

    def test_has_no_installer_among_its_packages_and_those_made_from_it_keep_to_the_tested_versions(self) -> None:
        assert any("pip uninstall --yes setuptools pip" in text for name, text in dockerfile() if name == "RUN")
        (variables,) = [text.split() for name, text in dockerfile() if name == "ENV"]
        assert {"PIP_CONSTRAINT=/venv/constraints.txt", "PIP_PYTHON=/venv/bin/python"} <= {*variables}

    def test_says_which_release_it_is(self) -> None:
        (labels,) = [text for name, text in dockerfile() if name == "LABEL"]
        assert f'org.opencontainers.image.version="{VERSION}"' in labels

    def test_leaves_its_files_to_root(self) -> None:
        """A process that is taken over can change no code, whatever the file system says."""
        assert not any("--chown" in text for name, text in dockerfile() if name == "COPY")

    def test_takes_only_what_dockerignore_lets_through(self) -> None:
        lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
        assert "*" in lines
        let_through = {line[1:].rstrip("/") for line in lines if line.startswith("!")}
        assert let_through == {"requirements.lock", "requirements-full.lock", "alembic.ini", "app", "client"}
        copied = {text.split()[0] for name, text in dockerfile() if name == "COPY" and "--from" not in text}
        assert copied == let_through

    def test_holds_the_bytecode_which_cannot_be_written_later(self) -> None:
        steps = dockerfile()
        (compiled,) = (at for at, (name, text) in enumerate(steps) if name == "RUN" and "-m compileall -q app" in text)
        assert steps.index(("COPY", "app /srv/app")) < compiled < steps.index(("USER", "app"))


def assert_each(is_right: Callable[[dict[str, Any]], bool], wrong: str, names: Iterable[str] = SERVICES) -> None:
    assert_none(f"docker-compose.yml: {name} {wrong}" for name in names if not is_right(SERVICES[name]))


class TestEveryContainer:
    def test_cannot_write_to_its_image(self) -> None:
        assert_each(lambda each: each["read_only"] is True, "is not read-only")
        assert_each(lambda each: "/tmp" in each["tmpfs"], "has no /tmp of its own")

    def test_has_no_capability_and_gains_none(self) -> None:
        assert_each(lambda each: each["cap_drop"] == ["ALL"] and "cap_add" not in each, "has capabilities")
        assert_each(lambda each: each["security_opt"] == ["no-new-privileges:true"], "may gain some")

    def test_is_not_root(self) -> None:
        """The image says so for the service; the entrypoints of the others would start as root."""
        assert_each(lambda each: each.get("user", "app") not in ("root", "0", "0:0"), "is root")
        assert_each(lambda each: "user" in each, "names no user", SERVICES.keys() - OWN)

    def test_shares_nothing_with_its_host(self) -> None:
        shared = {"privileged", "network_mode", "pid", "ipc", "devices", "userns_mode", "extra_hosts"}
        assert_each(shared.isdisjoint, "shares one of these with its host")
        volumes = {name: {of.split(":")[0] for of in each.get("volumes", [])} for name, each in SERVICES.items()}
        assert_none(f"docker-compose.yml: {name} mounts {of - NAMED}" for name, of in volumes.items() if of - NAMED)

    def test_has_a_log_with_an_end(self) -> None:
        """Without options, Docker's grows until the disk is full."""
        end = {"max-size": "10m", "max-file": "5"}
        assert_each(lambda each: each["logging"]["options"] == end, f"has not the options {end} of its log")

    def test_takes_no_inline_configuration(self) -> None:
        """Docker Compose copies it into the container, which fails where the root is read-only; podman does not mind."""
        assert_each(lambda each: "configs" not in each, "has `configs`")


class TestBaseImages:
    def test_can_be_pinned_by_digest(self) -> None:
        pinned = "postgres:18@sha256:" + "0" * 64
        assert resolve(SERVICES["postgres"]["image"], {"POSTGRES_IMAGE": pinned}) == pinned
        assert resolve(SERVICES["valkey"]["image"], {"VALKEY_IMAGE": pinned}) == pinned
        for name in OWN:
            arguments = SERVICES[name]["build"]["args"]
            assert resolve(arguments["PYTHON_IMAGE"], {"PYTHON_IMAGE": pinned}) == pinned

    def test_have_one_default_each(self) -> None:
        froms = [text for name, text in dockerfile() if name == "FROM"]
        assert froms == ["${PYTHON_IMAGE} AS slim", "slim AS full", "${VARIANT} AS packages", "${PYTHON_IMAGE}"]
        defaults = [text for name, text in dockerfile() if name == "ARG"]
        assert defaults == [f"{name}={resolve(text, {})}" for name, text in SERVICES["api"]["build"]["args"].items()]


class TestRoles:
    """docs/servers.md says what each is for."""

    def test_the_owner_migrates_and_another_role_runs_the_service(self) -> None:
        given = {name: f"the-{name}" for name in required_variables()}
        for name in OWN:
            url = resolve(SERVICES[name]["environment"]["DATABASE_URL"], given)
            role = "tasks_owner:the-POSTGRES_PASSWORD" if name == "migrate" else "tasks_app:the-POSTGRES_APP_PASSWORD"
            assert url == f"postgresql://{role}@postgres:5432/tasks"

    def test_the_documents_statements_make_them(self) -> None:
        """But for the passwords, and the superuser's, which the document leaves to the administrator."""
        document = (ROOT / "docs" / "servers.md").read_text(encoding="utf-8")
        (_, once, *_) = re.findall(r"^```sql\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)
        written = {
            re.sub(r"PASSWORD '.*'", "PASSWORD", line) for line in once.splitlines() if not line.startswith("--")
        }
        made = {re.sub(r"PASSWORD '.*'", "PASSWORD", line) for line in roles_script().splitlines()}
        assert made - written == {"ALTER ROLE postgres PASSWORD NULL;"}
        assert written - made == set()


class TestCompose:
    def test_publishes_the_api_alone(self) -> None:
        assert [name for name, service in SERVICES.items() if "ports" in service] == ["api"]

    def test_has_no_password_of_its_own(self) -> None:
        assert required_variables() == {"SECRET_KEY", "POSTGRES_PASSWORD", "POSTGRES_APP_PASSWORD", "VALKEY_PASSWORD"}

    def test_starts_in_production_with_the_required_variables_alone(self) -> None:
        given = dict.fromkeys(required_variables(), "x")
        for name in OWN:
            for value in SERVICES[name]["environment"].values():
                resolve(value, given)
            assert SERVICES[name]["env_file"] == [{"path": "${ENV_FILE:-.env}", "required": False}]
            assert resolve(SERVICES[name]["environment"]["APP_ENV"], given) == "production"

    def test_passes_every_setting_of_the_file(self) -> None:
        """But for those of the servers that it has itself, and secrets that are not of the service."""
        for name in OWN:
            fixed = {each for each, value in SERVICES[name]["environment"].items() if "${" + each not in value}
            assert fixed & {each.upper() for each in Settings.model_fields} <= {
                "DATABASE_URL", "CELERY_BROKER_URL", "FIRST_ADMIN_PASSWORD",
            }  # fmt: skip

    def test_the_documented_command_makes_every_secret_and_the_first_administrator(self, tmp_path: Path) -> None:
        subprocess.run(["bash", "-euc", documented_secrets()], cwd=tmp_path, check=True)
        made = read_env(tmp_path / ".env")
        assert made.keys() == required_variables() | {"FIRST_ADMIN_PASSWORD"}
        assert all(value.isalnum() and len(value) == 64 for value in made.values())
        assert f"#   {documented_secrets().partition(';')[0]};" in text_of(ROOT / "docker-compose.yml")

    def test_a_missing_secret_is_an_error(self) -> None:
        with pytest.raises(KeyError):
            resolve(SERVICES["api"]["environment"]["SECRET_KEY"], {})
