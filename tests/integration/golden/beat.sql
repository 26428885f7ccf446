-- Written by `python -m tests.support.golden_sql --write`.

INSERT INTO periods (name)
VALUES (%(name)s)
ON CONFLICT
DO NOTHING;

SELECT periods.fired_at, clock_timestamp() AS clock_timestamp_1
FROM periods
WHERE periods.name = %(name_1)s;

UPDATE periods
SET fired_at=%(fired_at)s
WHERE periods.name = %(name_1)s
AND periods.fired_at = %(fired_at_1)s;

UPDATE periods
SET fired_at=clock_timestamp()
WHERE periods.name = %(name_1)s
AND periods.fired_at = %(fired_at_1)s
RETURNING periods.fired_at;
