-- Written by `python -m tests.support.golden_sql --write`.

SELECT EXISTS (
  SELECT *
  FROM tasks
  WHERE tasks.id = %(id_1)s::UUID
  AND tasks.user_id = %(user_id_1)s::UUID) AS anon_1;

SELECT EXISTS (
  SELECT *
  FROM tasks
  WHERE tasks.id = %(id_1)s::UUID) AS anon_1;

SELECT task_logs.task_id, task_logs.seq, task_logs.attempt, task_logs.at, task_logs.level, task_logs.logger,
    task_logs.message, task_logs.fields
FROM task_logs
WHERE task_logs.task_id = %(task_id_1)s::UUID
ORDER BY task_logs.seq DESC
LIMIT %(param_1)s;

SELECT task_logs.task_id, task_logs.seq, task_logs.attempt, task_logs.at, task_logs.level, task_logs.logger,
    task_logs.message, task_logs.fields, anon_1.of_all
FROM task_logs
JOIN (
  SELECT anon_2.seq AS seq, anon_2.bytes AS bytes, sum(anon_2.bytes) OVER (
    ORDER BY anon_2.seq) AS through, count(*) OVER () AS of_all
  FROM (
    SELECT task_logs.seq AS seq, %(param_1)s + octet_length(task_logs.logger) + octet_length(task_logs.message) +
        octet_length(task_logs.fields) AS bytes
    FROM task_logs
    WHERE task_logs.task_id = %(task_id_1)s::UUID
    AND task_logs.seq > %(seq_1)s
    AND task_logs.attempt = %(attempt_1)s
    AND task_logs.level >= %(level_1)s
    ORDER BY task_logs.seq
    LIMIT %(param_2)s) AS anon_2) AS anon_1 ON task_logs.seq = anon_1.seq
WHERE task_logs.task_id = %(task_id_2)s::UUID
AND (anon_1.through <= %(through_1)s OR anon_1.through = anon_1.bytes)
ORDER BY task_logs.seq;

SELECT task_logs.task_id, task_logs.seq, task_logs.attempt, task_logs.at, task_logs.level, task_logs.logger,
    task_logs.message, task_logs.fields, anon_1.of_all
FROM task_logs
JOIN (
  SELECT anon_2.seq AS seq, anon_2.bytes AS bytes, sum(anon_2.bytes) OVER (
    ORDER BY anon_2.seq) AS through, count(*) OVER () AS of_all
  FROM (
    SELECT task_logs.seq AS seq, %(param_1)s + octet_length(task_logs.logger) + octet_length(task_logs.message) +
        octet_length(task_logs.fields) AS bytes
    FROM task_logs
    WHERE task_logs.task_id = %(task_id_1)s::UUID
    AND task_logs.seq > %(seq_1)s
    AND task_logs.level >= %(level_1)s
    ORDER BY task_logs.seq
    LIMIT %(param_2)s) AS anon_2) AS anon_1 ON task_logs.seq = anon_1.seq
WHERE task_logs.task_id = %(task_id_2)s::UUID
AND (anon_1.through <= %(through_1)s OR anon_1.through = anon_1.bytes)
ORDER BY task_logs.seq;

SET LOCAL enable_seqscan = 'off';
SELECT coalesce(sum(128 + octet_length(task_logs.logger) + octet_length(task_logs.message) +
    octet_length(task_logs.fields)), 0) AS coalesce_1
FROM task_logs
WHERE task_logs.task_id = $1::UUID;

SET LOCAL enable_seqscan = 'off';
SELECT max(anon_1.seq) AS max_1
FROM (
  SELECT task_logs.seq AS seq, sum(128 + octet_length(task_logs.logger) + octet_length(task_logs.message) +
      octet_length(task_logs.fields)) OVER (
    ORDER BY task_logs.seq DESC) AS through
  FROM task_logs
  WHERE task_logs.task_id = $1::UUID) AS anon_1
WHERE anon_1.through > $2;

SET LOCAL enable_seqscan = 'off';
SET LOCAL lock_timeout = '200ms';
WITH added AS (
  INSERT INTO task_logs (task_id, attempt, seq, at, level, logger, message, fields)
  SELECT $1::UUID AS anon_1, $2 AS anon_2, given.seq AS seq, given.at AS at, given.level AS level, given.logger AS
      logger, given.message AS message, given.fields AS fields
  FROM json_to_recordset(CAST($3 AS JSON)) AS given(seq BIGINT, at TIMESTAMP WITH TIME ZONE, level SMALLINT, logger
      TEXT, message TEXT, fields TEXT)
  WHERE EXISTS (
    SELECT tasks.id
    FROM tasks
    WHERE tasks.id = $1::UUID)
  ON CONFLICT
  DO NOTHING
  RETURNING 128 + octet_length(task_logs.logger) + octet_length(task_logs.message) + octet_length(task_logs.fields) AS
      bytes), gone AS (
  DELETE FROM task_logs
  WHERE task_logs.task_id = $1::UUID
  AND task_logs.seq <= $4
  RETURNING 128 + octet_length(task_logs.logger) + octet_length(task_logs.message) + octet_length(task_logs.fields) AS
      bytes), counted AS (
  UPDATE tasks
  SET attached_bytes=((tasks.attached_bytes + (
        SELECT coalesce(sum(added.bytes), 0) AS coalesce_1
        FROM added)) - (
      SELECT coalesce(sum(gone.bytes), 0) AS coalesce_3
      FROM gone))
  WHERE tasks.id = $1::UUID
  RETURNING tasks.id)
SELECT counted.id
FROM counted;
