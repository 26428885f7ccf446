-- Written by `python -m tests.support.golden_sql --write`.

DELETE FROM recovery_codes
WHERE recovery_codes.user_id = %(user_id_1)s::UUID
AND recovery_codes.digest = %(digest_1)s;

INSERT INTO recovery_codes (user_id, digest)
VALUES (%(user_id__0)s::UUID, %(digest__0)s), …;

SELECT count(*) AS count_1
FROM recovery_codes
WHERE recovery_codes.user_id = %(user_id_1)s::UUID;

UPDATE second_factors
SET confirmed_at=clock_timestamp(), last_step=%(last_step)s
WHERE second_factors.user_id = %(user_id_1)s::UUID;

UPDATE second_factors
SET last_step=%(last_step)s
WHERE second_factors.user_id = %(user_id_1)s::UUID
AND (second_factors.last_step IS NULL OR second_factors.last_step < %(last_step_1)s);
