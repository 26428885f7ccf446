-- Written by `python -m tests.support.golden_sql --write`.

UPDATE limits
SET concurrency=%(concurrency)s, rate_count=%(rate_count)s, rate_period_seconds=%(rate_period_seconds)s,
    on_excess=%(on_excess)s, updated_at=clock_timestamp()
WHERE limits.name = %(limits_name)s;
