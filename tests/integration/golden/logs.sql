-- Written by `python -m tests.support.golden_sql --write`.

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
SELECT sum(128 + octet_length(task_logs.logger) + octet_length(task_logs.message) + octet_length(task_logs.fields)) AS
    sum_1
FROM task_logs
WHERE task_logs.task_id = $1::UUID;

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
