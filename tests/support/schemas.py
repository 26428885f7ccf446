"""Alembic as a deployment runs it, and the schema of a database in words that can be compared."""

import re
import subprocess
import sys
import warnings
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from app.launcher.pgfiles import binary
from tests.support.databases import DIALECT, ENGINE
from tests.support.services import ROOT, environment, process_environment, sqlalchemy_url

VERSION = "alembic_version"
# What MySQL adds to the text of a table that a dump has made, or that has had rows.
_NOISE = re.compile("CHARACTER SET utf8mb4 | AUTO_INCREMENT=[0-9]+")


def run(url: str, *command: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=ROOT, env=process_environment(environment(url, "memory://")),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def said(url: str, *command: str) -> tuple[int, list[str]]:
    """The exit code of this command, and the lines that are not Alembic's greeting."""
    process = run(url, *command)
    output, _ = process.communicate(timeout=60)
    lines = [line for line in output.splitlines() if not line.startswith(("Context impl", "Will assume"))]
    return process.returncode, lines


def rows(url: str, *statements: str) -> list[Any]:
    """The rows of the last one."""
    engine = sa.create_engine(sqlalchemy_url(url), poolclass=NullPool)
    with engine.begin() as connection:
        for statement in statements:
            result = connection.execute(sa.text(statement))
        return [tuple(row) for row in result] if result.returns_rows else []


def version(url: str) -> str:
    ((found,),) = rows(url, f"SELECT version_num FROM {VERSION}")
    return str(found)


def schema(url: str) -> dict[str, list[str]]:
    """All that there is, by name, but Alembic's own table: the lines of each, sorted, as columns have no order."""
    ends = " ,;" if ENGINE == "mysql" else " ,"  # it keeps a dump's spelling of the end of a trigger
    return {
        name: sorted(line.strip(ends) for line in _NOISE.sub("", made).splitlines())
        for name, made in {"postgresql": _dump, "mysql": _shown, "sqlite": _kept}[DIALECT](url).items()
    }


def _dump(url: str) -> dict[str, str]:
    options = ("--schema-only", "--no-owner", "--no-comments", f"--exclude-table={VERSION}")
    done = subprocess.run([binary("pg_dump"), *options, url], check=True, capture_output=True, text=True, timeout=60)
    lines = [
        line for line in done.stdout.splitlines() if not line.startswith(("--", "\\", "SET ", "SELECT pg_catalog"))
    ]
    statements = [each.strip() for each in "\n".join(lines).split(";\n") if each.strip()]
    return {each.partition("(\n")[0]: each for each in statements}


def _kept(url: str) -> dict[str, str]:
    """Not the text of a table, which a revision that makes it anew spells in its own way."""
    engine = sa.create_engine(url, poolclass=NullPool)
    inspector = sa.inspect(engine)
    found = {
        name: " ".join(made.split())
        for name, made in rows(url, "SELECT name, sql FROM sqlite_master WHERE type <> 'table' AND sql IS NOT NULL")
    }
    for table in set(inspector.get_table_names()) - {VERSION}:
        columns = [
            str(row)
            for row in rows(url, f"SELECT name, type, [notnull], dflt_value, pk FROM pragma_table_xinfo('{table}')")
        ]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Skipped unsupported reflection of expression-based index")
            parts = (
                inspector.get_check_constraints(table),
                inspector.get_foreign_keys(table),
                inspector.get_unique_constraints(table),
            )
        ((made,),) = rows(url, f"SELECT sql FROM sqlite_master WHERE type = 'table' AND name = '{table}'")
        columns += ["AUTOINCREMENT"] if "AUTOINCREMENT" in made else []
        constraints = [" ".join(str(each).replace("\\n", " ").split()) for part in parts for each in part]
        found[table] = "\n".join([*columns, *constraints])
    return found


def _shown(url: str) -> dict[str, str]:
    names = rows(url, "SELECT table_name FROM information_schema.tables WHERE table_schema = database()")
    with sa.create_engine(sqlalchemy_url(url), poolclass=NullPool).connect() as connection:  # one for all the tables
        made = {name: connection.execute(sa.text(f"SHOW CREATE TABLE `{name}`")).one()[1] for (name,) in names}
    tables = {name: each for name, each in made.items() if name != VERSION}
    columns = "trigger_name, action_timing, event_manipulation, event_object_table, action_order, action_statement"
    triggers = rows(url, f"SELECT {columns} FROM information_schema.triggers WHERE trigger_schema = database()")
    return {**tables, **{f"trigger {name}": "\n".join(map(str, rest)) for name, *rest in triggers}}
