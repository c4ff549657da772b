-- start: where a partition is read on; from here where it never was
INSERT INTO inbox.place AS p (topic_id, partition, topic, next_offset)
VALUES (%(topic_id)s, %(partition)s, %(topic)s, %(offset)s)
ON CONFLICT (topic_id, partition) DO UPDATE SET topic = excluded.topic
RETURNING next_offset, refusal

-- refuse: keep the answer to the refused message that is next; the first one stays
UPDATE inbox.place SET refusal = coalesce(refusal, %(refusal)s)
WHERE topic_id = %(topic_id)s AND partition = %(partition)s AND next_offset <= %(offset)s
RETURNING refusal

-- done: everything before this offset was answered
UPDATE inbox.place SET next_offset = %(offset)s, refusal = NULL
WHERE topic_id = %(topic_id)s AND partition = %(partition)s AND next_offset < %(offset)s

-- join: count this session as one that takes partitions of this kind
SELECT pg_advisory_lock_shared(%(member)s, %(kind)s)

-- leave: no longer
SELECT pg_advisory_unlock_shared(%(member)s, %(kind)s)

-- alive: how many sessions take partitions of this kind
SELECT greatest(count(*), 1) FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 2 AND classid = %(member)s AND objid = %(kind)s AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())

-- take: a partition, where nobody else alive has it
SELECT pg_try_advisory_lock(hashtextextended(%(name)s, 0))

-- give: a partition back
SELECT pg_advisory_unlock(hashtextextended(%(name)s, 0))

-- alone: not a transaction, and ended by the server where this process says nothing for so long
SELECT set_config('idle_session_timeout', %(silence)s, false)
