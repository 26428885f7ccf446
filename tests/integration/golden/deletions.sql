-- Written by `python -m tests.support.golden_sql --write`.

DELETE FROM tasks
WHERE tasks.id = %(id_1)s::UUID
AND tasks.status IN (%(status_1_1)s, …);
