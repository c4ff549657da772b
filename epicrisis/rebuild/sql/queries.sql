-- next_number: what tells generations apart for ever, so that no name comes back
SELECT nextval('projection.generation_number')

-- ledger_parts: the ledger's tables, each with its slices and its size
SELECT pg_get_expr(child.relpartbound, child.oid), pg_table_size(child.oid)
FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
WHERE inhparent = 'ledger.event'::regclass

-- indexes: what a schema's tables have beside their rows, as the statements that make and remove it
SELECT format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', conrelid::regclass, conname, pg_get_constraintdef(oid)),
    format('ALTER TABLE %%s DROP CONSTRAINT %%I', conrelid::regclass, conname)
FROM pg_constraint WHERE contype IN ('p', 'u') AND connamespace = %(schema)s::regnamespace
UNION ALL
SELECT pg_get_indexdef(indexrelid), format('DROP INDEX %%s', indexrelid::regclass)
FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
WHERE relnamespace = %(schema)s::regnamespace
    AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u'))
ORDER BY 1

-- keep_indexes: they are made once the tables are filled
UPDATE projection.generation SET indexes = %(indexes)s WHERE schema = %(schema)s

-- kept_indexes: those
SELECT indexes FROM projection.generation WHERE schema = %(schema)s

-- begin_offsets: the log is read on from where the ledger is now, or earlier
INSERT INTO projection.offset (consumer, partition, next_offset)
SELECT %(schema)s, partition, next_offset FROM projection.offset WHERE consumer = 'ledger'

-- add_parts: in which parts it is filled
INSERT INTO projection.part (schema, first, last)
SELECT %(schema)s, * FROM unnest(%(first)s::int[], %(last)s::int[])

-- claim: a part that nobody is filling
SELECT first, last FROM projection.part WHERE schema = ANY(%(schemas)s) AND events IS NULL
ORDER BY first LIMIT 1 FOR UPDATE SKIP LOCKED

-- claim_for: who lacks this part
SELECT schema FROM projection.part
WHERE schema = ANY(%(schemas)s) AND first = %(first)s AND last = %(last)s AND events IS NULL
FOR UPDATE SKIP LOCKED

-- part_done: it is filled, with so many events
UPDATE projection.part SET events = %(events)s WHERE schema = ANY(%(schemas)s) AND first = %(first)s

-- progress: how many parts are left, and how many events the others had, on average of the schemas
SELECT count(*) FILTER (WHERE events IS NULL),
    (coalesce(sum(events), 0) / greatest(1, cardinality(%(schemas)b::text[])))::bigint
FROM projection.part WHERE schema = ANY(%(schemas)b)

-- ledger_total: how many events the ledger has
SELECT coalesce(sum(n), 0)::bigint FROM ledger.subject

-- ledger_queue: what waits for the ledger itself
SELECT subject, partition, "offset", source, seq, reason, value FROM projection.parked
WHERE consumer = 'ledger' ORDER BY id

-- copy_positions: what has been applied
COPY projection.position (consumer, subject, seqs) FROM STDIN (FORMAT BINARY)

-- filled: everything of the ledger is in
UPDATE projection.generation SET filled_at = now(), indexes = '{}' WHERE schema = %(schema)s

-- state: where a generation stands now
UPDATE projection.generation
SET state = %(state)s, swapped_at = CASE WHEN %(state)s IN ('live', 'retired') THEN now() ELSE swapped_at END
WHERE schema = %(schema)s

-- offsets: how far these have read
SELECT consumer, partition, next_offset FROM projection.offset WHERE consumer = ANY(%(consumers)s)

-- nobody_takes: until the end of the transaction no worker looks whom to follow
SELECT pg_advisory_xact_lock(hashtext('projection.generation'))

-- forget_offsets: first, so that the batch of a worker comes before or not at all
DELETE FROM projection.offset WHERE consumer = %(schema)s

-- forget: all else that was remembered for a generation
WITH gone AS (DELETE FROM projection.generation WHERE schema = %(schema)s),
    position AS (DELETE FROM projection.position WHERE consumer = %(schema)s)
DELETE FROM projection.parked WHERE consumer = %(schema)s

-- one_rebuild: whether nobody else rebuilds this projection; held as long as the session
SELECT pg_try_advisory_lock(hashtext('rebuild'), hashtext(%(projection)s))

-- missed: subjects of which the ledger has events that this generation has neither applied nor parked
SELECT count(*) FROM projection.position AS known
LEFT JOIN projection.position AS own ON own.subject = known.subject AND own.consumer = %(schema)s
WHERE known.consumer = 'ledger' AND known.seqs IS DISTINCT FROM own.seqs
    AND EXISTS (
        SELECT FROM jsonb_each(known.seqs) AS service
        WHERE service.value::bigint > coalesce((own.seqs -> service.key)::bigint, 0)
    )
    AND NOT EXISTS (
        SELECT FROM projection.parked WHERE consumer = %(schema)s AND parked.subject = known.subject
    )

-- parked_subjects: how many are parked
SELECT count(DISTINCT subject) FROM projection.parked WHERE consumer = %(schema)s
