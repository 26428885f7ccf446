-- Written by `python -m tests.support.golden_sql --write`.

SET LOCAL enable_seqscan = 'off';
SELECT sum(task_output.bytes) AS sum_1
FROM task_output
WHERE task_output.task_id = $1::UUID;

SET LOCAL enable_seqscan = 'off';
SET LOCAL lock_timeout = '200ms';
WITH held AS (
  SELECT tasks.id AS id, tasks.attempt AS attempt, tasks.cancel_requested_at AS cancel_requested_at
  FROM tasks
  WHERE tasks.id = $1::UUID
  AND tasks.attempt = $2
  AND ((CAST(tasks.status AS TEXT) || '') = 'running' OR $3)
  FOR UPDATE), added AS (
  INSERT INTO task_output (task_id, attempt, seq, stream, at, chunk, bytes)
  SELECT held.id AS id, held.attempt AS attempt, given.seq AS seq, given.stream AS stream, given.at AS at, given.chunk
      AS chunk, given.bytes AS bytes
  FROM held
  JOIN json_to_recordset(CAST($4 AS JSON)) AS given(seq BIGINT, stream TEXT, at TIMESTAMP WITH TIME ZONE, chunk TEXT,
      bytes INTEGER) ON true
  ON CONFLICT
  DO NOTHING
  RETURNING task_output.bytes), counted AS (
  UPDATE tasks
  SET attached_bytes=(tasks.attached_bytes + (
      SELECT coalesce(sum(added.bytes), 0) AS coalesce_1
      FROM added))
  FROM held
  WHERE tasks.id = held.id
  RETURNING held.cancel_requested_at)
SELECT counted.cancel_requested_at
FROM counted;
