"""Why a task waits, as far as the database knows: an expression that each engine evaluates with the row it stands by.

`no_worker` is not among the reasons: workers come and go without a change in any row. `ready` is what is left, and
`app/core/served_tasks.py` tells `no_worker` from `turn`.
"""

from app.ddl.trigger_terms import SHOWN_HOLDS

_HELD = ", ".join(f"'{held}'" for held in SHOWN_HOLDS)


def reason(row: str, now: str) -> str:
    """Of the pending task whose columns stand behind `row`."""
    return f"""CASE
    WHEN {row}run_at > {now} THEN CASE WHEN {row}failures > 0 THEN 'retry' ELSE 'schedule' END
    WHEN EXISTS (
        SELECT 1 FROM claim_holds AS hold WHERE hold.kind = 'queue' AND hold.name = {row}queue
    ) THEN 'paused'
    WHEN {row}held IN ({_HELD}) THEN {row}held
    ELSE 'ready'
END"""  # noqa: S608 (constants)  # nosec B608


def waits(now: str) -> str:
    """Of a row of `tasks`; NULL unless it is pending."""
    return f"CASE WHEN tasks.status = 'pending' THEN {reason('tasks.', now)} END"
