-- Written by `python -m tests.support.golden_sql --write`.

SELECT clock_timestamp() AS clock_timestamp_1
FROM users
WHERE users.id = %(id_1)s::UUID
AND users.password_hash = %(password_hash_1)s
AND users.is_active
FOR UPDATE;

SELECT login_sessions.id, login_sessions.created_at, coalesce((
    SELECT max(refresh_tokens.created_at) AS max_1
    FROM refresh_tokens
    WHERE refresh_tokens.session_id = login_sessions.id), login_sessions.created_at) AS coalesce_1,
        login_sessions.expires_at
FROM login_sessions
WHERE login_sessions.user_id = %(user_id_1)s::UUID
AND login_sessions.revoked_at IS NULL
AND login_sessions.expires_at > clock_timestamp()
ORDER BY login_sessions.created_at DESC, login_sessions.id DESC
LIMIT %(param_1)s;

SELECT refresh_tokens.session_id
FROM refresh_tokens
WHERE refresh_tokens.digest = %(digest_1)s;

UPDATE login_sessions
SET revoked_at=clock_timestamp(), revoked_why=%(revoked_why)s
WHERE login_sessions.id = %(id_1)s::UUID
AND login_sessions.revoked_at IS NULL
RETURNING login_sessions.user_id;

UPDATE login_sessions
SET revoked_at=clock_timestamp(), revoked_why=%(revoked_why)s
WHERE login_sessions.user_id = %(user_id_1)s::UUID
AND login_sessions.revoked_at IS NULL
AND login_sessions.expires_at > clock_timestamp()
AND login_sessions.id = %(id_1)s::UUID
RETURNING login_sessions.id;

UPDATE refresh_tokens
SET used_at=clock_timestamp()
WHERE refresh_tokens.digest = %(digest_1)s
AND refresh_tokens.used_at IS NULL
RETURNING refresh_tokens.session_id;

UPDATE users
SET password_hash=%(password_hash)s
WHERE users.id = %(id_1)s::UUID;
