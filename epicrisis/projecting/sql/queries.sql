-- join: make sure that a consumer has its row for these partitions
INSERT INTO projection.offset (consumer, partition)
SELECT consumer, partition
FROM unnest(%(consumers)b::text[]) AS consumer, unnest(%(partitions)s::int[]) AS partition
ON CONFLICT DO NOTHING

-- take: become the one who may move these offsets
WITH mine AS (
    SELECT consumer, partition FROM projection.offset
    WHERE consumer = ANY(%(consumers)s) AND partition = ANY(%(partitions)s)
    ORDER BY consumer, partition FOR UPDATE
)
UPDATE projection.offset AS o SET epoch = o.epoch + 1
FROM mine WHERE o.consumer = mine.consumer AND o.partition = mine.partition
RETURNING o.consumer, o.partition, o.next_offset, o.epoch

-- move: offsets forward, where nobody else has taken over
UPDATE projection.offset AS o SET next_offset = n.new
FROM unnest(
    %(consumers)b::text[], %(partitions)s::int[], %(old)s::bigint[], %(new)s::bigint[], %(epochs)s::bigint[]
) AS n (consumer, partition, old, new, epoch)
WHERE o.consumer = n.consumer AND o.partition = n.partition AND o.next_offset = n.old AND o.epoch = n.epoch
RETURNING o.partition

-- hold: keep retries and other workers out of these partitions until the batch, or the retry, is committed
SELECT consumer, partition, epoch FROM projection.offset
WHERE consumer = ANY(%(consumers)s) AND partition = ANY(%(partitions)s)
ORDER BY consumer, partition FOR UPDATE

-- positions: what these consumers have applied of these subjects
SELECT consumer, subject, seqs FROM projection.position
WHERE subject = ANY(%(subjects)s) AND consumer = ANY(%(consumers)s)

-- parked_subjects: which of these subjects are parked, for whom
SELECT DISTINCT consumer, subject FROM projection.parked
WHERE subject = ANY(%(subjects)s) AND consumer = ANY(%(consumers)s)

-- save_positions: what they have applied now
INSERT INTO projection.position (consumer, subject, seqs)
SELECT * FROM unnest(%(consumers)b::text[], %(subjects)s::uuid[], %(seqs)b::jsonb[])
ON CONFLICT (subject, consumer) DO UPDATE SET seqs = EXCLUDED.seqs

-- park: queue an event of a parked subject
INSERT INTO projection.parked (consumer, subject, partition, "offset", source, seq, reason, value)
VALUES (%(consumer)s, %(subject)s, %(partition)s, %(offset)s, %(source)s, %(seq)s, %(reason)s, %(value)s)
ON CONFLICT (subject, consumer, source, seq) DO NOTHING

-- set_aside: keep a record that belongs to no subject
INSERT INTO projection.poison (topic, partition, "offset", reason, key, value)
VALUES (%(topic)s, %(partition)s, %(offset)s, %(reason)s, %(key)s, %(value)s)
ON CONFLICT DO NOTHING

-- parked_list: every parked subject with the reason of its first event and the length of its queue
SELECT consumer, subject, partition, min(id) AS id, count(*) AS events,
    (array_agg(reason ORDER BY id))[1] AS reason, min(parked_at) AS since
FROM projection.parked
GROUP BY consumer, subject, partition
ORDER BY since

-- poison_list: the records that belong to no subject
SELECT topic, partition, "offset", reason, found_at, length(value) AS bytes FROM projection.poison ORDER BY found_at

-- poison_one: a record that was set aside
SELECT key, value, reason, found_at FROM projection.poison
WHERE topic = %(topic)s AND partition = %(partition)s AND "offset" = %(offset)s

-- poison_read: it could be read after all
DELETE FROM projection.poison
WHERE topic = %(topic)s AND partition = %(partition)s AND "offset" = %(offset)s

-- parked_count: how many subjects are parked for this consumer
SELECT count(DISTINCT subject) FROM projection.parked WHERE consumer = %(consumer)s

-- queue: the events of a parked subject, in order
SELECT id, partition, "offset", source, seq, reason, value FROM projection.parked
WHERE consumer = %(consumer)s AND subject = %(subject)s ORDER BY id

-- first_reasons: why the parked subjects of these partitions wait
SELECT DISTINCT ON (consumer, subject) consumer, subject, reason FROM projection.parked
WHERE consumer = ANY(%(consumers)s) AND partition = ANY(%(partitions)s)
ORDER BY consumer, subject, id

-- unpark: these events have been applied
DELETE FROM projection.parked WHERE id = ANY(%(ids)s)

-- still: why the first event of the queue still waits
UPDATE projection.parked SET reason = %(reason)s WHERE id = %(id)s

-- lag: how far each consumer has read
SELECT consumer, partition, next_offset, epoch FROM projection.offset ORDER BY consumer, partition

-- generations: the registry
SELECT schema, projection, version, state, begun_at, filled_at, swapped_at FROM projection.generation
WHERE %(projection)s::text IS NULL OR projection = %(projection)s
ORDER BY projection, swapped_at DESC NULLS FIRST, begun_at DESC

-- looking: until the end of the transaction no generation goes
SELECT pg_advisory_xact_lock_shared(hashtext('projection.generation'))

-- register: a new generation
INSERT INTO projection.generation (schema, projection, version, state, filled_at, swapped_at)
VALUES (%(schema)s, %(projection)s, %(version)s, %(state)s,
    CASE WHEN %(state)s = 'live' THEN now() END, CASE WHEN %(state)s = 'live' THEN now() END)

-- parts_left: what generations in the making still lack
SELECT schema, count(*) FILTER (WHERE events IS NULL) FROM projection.part JOIN projection.generation USING (schema)
WHERE state = 'building' GROUP BY schema ORDER BY schema
