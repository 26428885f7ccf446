"""Imports the application once, and forks the parts of the service: `python -m app.launcher.fork_server ENGINE`.

An import takes seconds of CPU for each part, a fork milliseconds. A part is forked twice, so that it becomes a child of
the process that ordered it: that one waits for it and is followed by it, and this process may be killed meanwhile.

Orders come over the socket that is its standard input, as JSON: `argv` of `python -m argv`, `env`, `cwd` and the number
of the signal that the part gets when its parent dies, with the file of its output and, if it has one, that of its
input. The part answers with its pid. When the socket is closed, this process ends. `app/launcher/forks.py` is the
other side.
"""

import ctypes
import gc
import io
import json
import os
import runpy
import socket
import sys
import threading
import time
from importlib import import_module
from typing import Any

from app.core.engines import MYSQL, SQLITE
from app.core.process_start import describe_with_place
from app.launcher.processes import stat_fields

PR_SET_PDEATHSIG = 1
LONGEST_ORDER = 1 << 18
# What names an engine to code that decides by it while it is imported. The parts read their own settings.
PLACEHOLDERS = {MYSQL: "mysql+pymysql://nobody@127.0.0.1:9/none", SQLITE: "sqlite:////nonexistent/none.db"}
# Each API process makes it anew from its own settings.
MADE_ANEW = "app.main"
# What migration, workers, beat and API import, by name: the launcher needs nothing of the service.
IMPORTED = (
    "app.__main__", "alembic.command", "alembic.script", "app.messaging.command_line", "app.celery_app",
    "celery.bin.worker", "celery.bin.beat", "celery.apps.worker", "celery.apps.beat", "celery.worker.consumer",
    "celery.concurrency.prefork", "app.worker.bootsteps", "uvicorn", "uvloop", "app.api.http.protocol", MADE_ANEW,
    # By name or at their first use: else each part reads its own copy.
    "kombu.transport.redis", "app.messaging.guard.transport", "app.messaging.guard.commands", "celery.app.log",
    "celery.app.control", "celery.worker.components", "celery.worker.autoscale", "celery.worker.strategy",
    "billiard.popen_fork", "billiard.sharedctypes", "app.worker.child.record_runner",
    "app.worker.parent.request", "app.worker.parent.consumer", "app.beat.scheduler",
    "uvicorn.lifespan.on", "anyio._backends._asyncio",
)  # fmt: skip
# In the place of an engine: packages alone are imported, and the fork server that is forked imports the application.
PACKAGES = "packages"
IMPORTED_PACKAGES = (
    *(name for name in IMPORTED if name.partition(".")[0] != "app"), "fastapi.openapi.utils", "jinja2", "jose.jwt",
    "prometheus_client", "pydantic_settings", "redis.client", "sqlalchemy.orm",
)  # fmt: skip
# The fields of /proc/self/stat, counted behind the command's name, that say where the command line stands.
_ARGUMENTS_BEGIN, _ARGUMENTS_END = 45, 46


def main() -> None:
    """Import the application, and be each part that is ordered."""
    orders = socket.socket(fileno=os.dup(0))
    engine = sys.argv[1]
    try:
        if engine == PACKAGES:
            import_packages()
        else:
            import_the_application(engine)
    except (Exception, SystemExit) as error:
        orders.send(json.dumps({"error": describe_with_place(error)}).encode())
        raise
    gc.collect()
    gc.freeze()  # else the collector of each part would write to every page of what they share
    orders.send(b"{}")
    order = _serve(orders)
    _become(order)
    if engine == PACKAGES:
        for name in [name for name in sys.modules if name.partition(".")[0] == "app"]:
            del sys.modules[name]
    module = order["argv"][0]
    if module in sys.modules:  # it is executed as `__main__`, and what it imports is there
        is_package = hasattr(sys.modules[module], "__path__")
        sys.modules.pop(f"{module}.__main__" if is_package else module, None)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def import_packages() -> None:
    """Import what the application needs, and nothing of the application but what this module itself needs."""
    for module in IMPORTED_PACKAGES:
        import_module(module)


def import_the_application(engine: str) -> None:
    """Import what API, worker, beat and the migration import, and keep nothing that has read the settings."""
    from sqlalchemy.orm import configure_mappers

    from app.core.config import Settings, get_settings

    for name in Settings.model_fields:  # what is refused is told by the part that has it
        os.environ.pop(name.upper(), None)
    os.environ.update(SECRET_KEY="only-to-import-0123456789abcdef0123", APP_ENV="development")  # noqa: S106
    os.environ.update(CELERY_BROKER_URL="memory://", DATABASE_URL=PLACEHOLDERS.get(engine, ""))
    for module in IMPORTED:
        import_module(module)
    configure_mappers()  # else each part does, at its first statement
    del sys.modules[MADE_ANEW]
    delattr(sys.modules["app"], "main")
    get_settings.cache_clear()
    if threading.active_count() > 1:  # they would be missing in what is forked, with the locks that they hold
        raise SystemExit(f"threads were started at an import: {threading.enumerate()}")


def _serve(orders: socket.socket) -> dict[str, Any]:
    """Fork at each order. Returns the order in the part, and never in this process."""
    while True:
        told, files, *_ = socket.recv_fds(orders, LONGEST_ORDER, 2)
        if not told:
            os._exit(0)
        order = json.loads(told)
        heard, tell = os.pipe()
        between = os.fork()
        if between == 0:
            os.close(tell)
            if os.fork() != 0:
                os._exit(0)
            return _adopted(orders, heard, {**order, "files": files})
        _, status = os.waitpid(between, 0)  # from here on the part is the child of the one that ordered it
        if status != 0:
            orders.send(json.dumps({"error": "no process could be made"}).encode())
        for each in (tell, heard, *files):
            os.close(each)


def _adopted(orders: socket.socket, heard: int, order: dict[str, Any]) -> dict[str, Any]:
    """Tell the pid once the parent is the one that ordered this part: it is followed by the part from then on."""
    os.read(heard, 1)
    os.close(heard)
    os.setsid()  # before it is told: whoever kills the part then kills its group
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, order["death_signal"], 0, 0, 0)
    is_adopted = os.getppid() == order["parent"]
    told = {"pid": os.getpid()} if is_adopted else {"error": "its parent is another process"}
    orders.send(json.dumps(told).encode())  # raises where the one that ordered it no longer waits: then it ends
    if not is_adopted:
        os._exit(1)
    orders.close()
    return order


def _become(order: dict[str, Any]) -> None:
    """What a process is that was started as `python -m argv`."""
    os.chdir(order["cwd"])
    output, *given = order["files"]
    standard_input = given[0] if given else os.open(os.devnull, os.O_RDONLY)
    for source, target in ((standard_input, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(standard_input)
    os.close(output)
    for name, number in (("stdout", 1), ("stderr", 2)):  # unbuffered; those of before knew another kind of file
        stream = getattr(sys, name)
        raw: Any = io.FileIO(number, "w", closefd=False)
        opened = io.TextIOWrapper(raw, stream.encoding, stream.errors, write_through=True)
        setattr(sys, name, opened)
        setattr(sys, f"__{name}__", opened)
    os.environ.clear()
    os.environ.update(order["env"])
    time.tzset()
    named = [path for path in order["env"].get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [order["cwd"], *named, *(path for path in sys.path[1:] if path not in named)]
    sys.argv = order["argv"]
    _show_as([sys.executable, "-m", *order["argv"]])


def _show_as(command: list[str]) -> None:
    """Have `ps` show this command line, as far as there is room: that of the process that forked is padded."""
    fields = stat_fields(os.getpid())
    if not fields:  # without /proc
        return
    begin, end = int(fields[_ARGUMENTS_BEGIN]), int(fields[_ARGUMENTS_END])
    shown = b"\0".join(os.fsencode(word) for word in command)[: end - begin - 1]
    ctypes.memmove(begin, shown.ljust(end - begin, b"\0"), end - begin)


if __name__ == "__main__":
    main()
