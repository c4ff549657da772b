-- history: the last seq of all these subjects, and of some the events of these streams, in order
SELECT h.subject, h.seq, e.stream, e.id, e.seq, e.value
FROM journal.head AS h
LEFT JOIN (
    SELECT event.* FROM journal.event
    JOIN unnest(%(subjects)s::uuid[], %(streams)b::text[]) AS wanted (subject, stream)
        ON hashtextextended(event.stream, 0) = hashtextextended(wanted.stream, 0)
        AND event.stream = wanted.stream AND event.subject = wanted.subject
) AS e ON e.subject = h.subject
WHERE h.subject = ANY(%(all)s::uuid[])
ORDER BY h.subject, e.seq

-- known_streams: which of these streams exist, of whatever subject
SELECT DISTINCT e.stream, e.subject
FROM journal.event AS e
JOIN unnest(%(streams)b::text[]) AS wanted (stream)
    ON hashtextextended(e.stream, 0) = hashtextextended(wanted.stream, 0) AND e.stream = wanted.stream

-- prepare: all that an append does before its events are copied; see 06_prepare.sql
SELECT journal.prepare(
    %(slices)s::int[], %(subjects)s::uuid[], %(expected)s::bigint[], %(counts)s::bigint[],
    %(ids)s::uuid[], %(streams)b::text[], %(digests)b::bytea[], %(resources)s::uuid[],
    %(admitted)s::uuid[], %(operators)b::text[]
)

-- append_few: prepare, the events and the tails in one call; see 10_append_few.sql
SELECT journal.append_few(
    %(slices)s::int[], %(subjects)s::uuid[], %(expected)s::bigint[], %(counts)s::bigint[],
    %(ids)s::uuid[], %(streams)b::text[], %(digests)b::bytea[], %(resources)s::uuid[],
    %(admitted)s::uuid[], %(operators)b::text[],
    %(recorded)b::timestamptz[], %(owners)s::uuid[], %(seqs)s::int[], %(event_slices)s::smallint[],
    %(streams_at)s::smallint[], %(stream_lengths)s::smallint[], %(values)b::bytea[]
)

-- append_few_named: append_few, and by which shared identifiers the resources are found; see 11_named.sql
SELECT journal.append_few(
    %(slices)s::int[], %(subjects)s::uuid[], %(expected)s::bigint[], %(counts)s::bigint[],
    %(ids)s::uuid[], %(streams)b::text[], %(digests)b::bytea[], %(resources)s::uuid[],
    %(admitted)s::uuid[], %(operators)b::text[],
    %(recorded)b::timestamptz[], %(owners)s::uuid[], %(seqs)s::int[], %(event_slices)s::smallint[],
    %(streams_at)s::smallint[], %(stream_lengths)s::smallint[], %(values)b::bytea[]
), journal.name(%(named)b::bytea[], %(named_resources)s::uuid[], %(named_recorded)b::timestamptz[])

-- name: by which shared identifiers resources are found; see 11_named.sql
SELECT journal.name(%(named)b::bytea[], %(named_resources)s::uuid[], %(named_recorded)b::timestamptz[])

-- append_next: events behind whatever their subjects have; see 08_append_next.sql
SELECT journal.append_next(
    %(slices)s::int[], %(recorded)b::timestamptz[], %(subjects)s::uuid[], %(event_slices)s::smallint[],
    %(streams_at)s::smallint[], %(stream_lengths)s::smallint[], %(befores)b::bytea[], %(afters)b::bytea[]
)

-- appended_ids: which of these event ids are in the journal already
SELECT e.id, e.subject, e.seq
FROM journal.event AS e
JOIN unnest(%(streams)b::text[]) AS wanted (stream)
    ON hashtextextended(e.stream, 0) = hashtextextended(wanted.stream, 0)
WHERE e.id = ANY(%(ids)s::uuid[])

-- copy_events: the append itself
COPY journal.event (recorded, subject, seq, slice, stream_at, stream_length, value) FROM STDIN (FORMAT BINARY)

-- move_tails: tell the relays; not behind a slice's last event, and for appends to several slices a little ahead
SELECT journal.move_tails(%(slices)s::int[])

-- who: whose identifiers these are, and which operators may write about those found and about these subjects
WITH found AS (
    SELECT digest, resource_id FROM journal.identifier WHERE digest = ANY(%(digests)b::bytea[])
), about AS (
    SELECT resource_id AS subject FROM found UNION SELECT unnest(%(subjects)s::uuid[])
)
SELECT digest, resource_id, NULL AS operator FROM found
UNION ALL
SELECT NULL, m.subject, m.operator FROM journal.member AS m JOIN about ON about.subject = m.subject

-- named: which resources have had these identifiers, and when last
SELECT digest, resource_id, recorded FROM journal.named WHERE digest = ANY(%(digests)b::bytea[])

-- after: values of one subject between two numbers, for whoever missed them
SELECT value FROM journal.event
WHERE slice = %(slice)s AND subject = %(subject)s AND seq BETWEEN %(first)s AND %(last)s
ORDER BY seq

-- fresh: what the relay has not sent yet in these slices, a bounded number from each
SELECT e.slice, e.pos, e.seq, e.recorded, e.subject, e.id, e.type, e.value
FROM unnest(%(slices)s::smallint[], %(cursors)s::bigint[]) AS c (slice, pos)
CROSS JOIN LATERAL (
    SELECT * FROM journal.event
    WHERE event.slice = c.slice AND event.pos > c.pos
    ORDER BY event.pos LIMIT %(limit)s
) AS e

-- position: the last pos given to anybody, committed or not
SELECT last_value FROM journal.pos

-- news: slices of mine whose tail is ahead of the relay's cursor
SELECT t.slice, r.pos, t.pos
FROM journal.tail AS t
JOIN journal.relay AS r USING (slice)
WHERE t.pos > r.pos AND t.slice / 64 = ANY(%(shares)s::int[])

-- move_cursors: forward over what the broker has acknowledged, if the lease is still mine
UPDATE journal.relay AS r SET pos = n.new
FROM unnest(%(slices)s::smallint[], %(old)s::bigint[], %(new)s::bigint[]) AS n (slice, old, new)
JOIN unnest(%(shares)s::smallint[], %(epochs)s::bigint[]) AS mine (share, epoch) ON mine.share = n.slice / 64
JOIN journal.lease AS l ON l.share = mine.share AND l.epoch = mine.epoch
WHERE r.slice = n.slice AND r.pos = n.old
RETURNING r.slice

-- join_relays: say that this relay is alive, and forget those that are not
WITH gone AS (DELETE FROM journal.relay_member WHERE seen < now() - %(ttl)s::interval AND owner <> %(owner)s)
INSERT INTO journal.relay_member (owner, seen) VALUES (%(owner)s, now())
ON CONFLICT (owner) DO UPDATE SET seen = now()

-- relays_alive: how many relays share the work
SELECT count(*) FROM journal.relay_member WHERE seen >= now() - %(ttl)s::interval

-- renew: keep the leases that are mine
UPDATE journal.lease SET lease_until = now() + %(ttl)s::interval
WHERE owner = %(owner)s AND lease_until >= now()
RETURNING share, epoch

-- acquire: take leases that nobody holds, a bounded number
UPDATE journal.lease SET owner = %(owner)s, epoch = epoch + 1, lease_until = now() + %(ttl)s::interval
WHERE share IN (
    SELECT share FROM journal.lease
    WHERE lease_until < now()
    ORDER BY share LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
RETURNING share, epoch

-- release: give leases back
UPDATE journal.lease SET owner = NULL, lease_until = '-infinity'
WHERE owner = %(owner)s AND share = ANY(%(shares)s::smallint[])

-- leave_relays: this relay stops
DELETE FROM journal.relay_member WHERE owner = %(owner)s
