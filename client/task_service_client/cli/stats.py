"""`stats`: how many tasks came and ended in a window, and how long they waited and ran."""

from typing import Annotated, Any

from task_service_client.cli.answers import read, shape
from task_service_client.cli.columns import Column
from task_service_client.cli.data import write_line, write_list, write_one
from task_service_client.cli.language import t
from task_service_client.cli.options import option
from task_service_client.cli.run import Run

COUNTS = ("submitted", "succeeded", "failed", "revoked")
COLUMNS = (Column("key", "KEY", least=16), *(Column(name, name.upper(), "number") for name in COUNTS))


def stats(
    run: Run,
    window: Annotated[str, option("--window", "1h, 24h or 7d.", "WINDOW")] = "24h",
    by: Annotated[str, option("--by", "type, queue or priority.", "KIND")] = "type",
) -> None:
    """Count the tasks of a window by their type, queue or priority."""
    percentiles = dict[str, float | None]
    series = shape(key=str, **dict.fromkeys(COUNTS, list[int]))
    form = shape(series=list[series], wait_seconds=percentiles, run_seconds=percentiles)  # type: ignore[valid-type]
    with run.client() as client:
        found: dict[str, Any] = read(client.request("GET", "/api/v1/stats", params={"window": window, "by": by}), form)
    if run.output == "json":
        write_one(run, found)
    elif run.output == "jsonl":
        for series in found["series"]:
            write_line(run, series)
    else:
        sums = [{"key": each["key"], **{name: sum(each[name]) for name in COUNTS}} for each in found["series"]]
        write_list(run, sorted(sums, key=lambda each: -each["submitted"]), COLUMNS)
        for name, words in (("wait_seconds", t("Waited")), ("run_seconds", t("Ran"))):
            run.say(f"{words}: {_percentiles(found[name])}")


def _percentiles(found: dict[str, float | None]) -> str:
    return "  ".join(f"{name} {'–' if value is None else f'{value:.2f} s'}" for name, value in found.items())
