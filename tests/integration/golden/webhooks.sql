-- Written by `python -m tests.support.golden_sql --write`.

SELECT tasks.user_id
FROM tasks
WHERE tasks.id = %(id_1)s::UUID;
