-- subjects: the ledger's events of these slices by subject, in the order of their chains; does the chain stand at this one?
SELECT uuid_send(e.subject), e.n, e.source, e.seq, e.slice, e.leaf, e.link, e.value, e.recorded >= %(since)s,
       s.n IS NOT DISTINCT FROM e.n AND s.link IS NOT DISTINCT FROM e.link
FROM ledger.event e LEFT JOIN ledger.subject s ON s.subject = e.subject
WHERE e.slice BETWEEN %(first)s AND %(last)s AND (%(all)s OR e.subject IN (
    SELECT subject FROM ledger.event WHERE slice BETWEEN %(first)s AND %(last)s AND recorded >= %(since)s
))
ORDER BY e.subject, e.n

-- no_events: chains that are said to stand somewhere, and have no event
SELECT s.subject FROM ledger.subject s
WHERE NOT EXISTS (SELECT 1 FROM ledger.event e WHERE e.subject = s.subject) LIMIT 1000

-- leaves: the ledger's events by their places in these partitions' trees
SELECT slice %% %(partitions)s, leaf, uuid_send(subject), n, link FROM ledger.event
WHERE leaf IS NOT NULL AND slice %% %(partitions)s = ANY(%(some)s)
ORDER BY 1, 2

-- entry_counts: how many entries each partition has
SELECT partition, sum(length(entries))::bigint / 56 FROM ledger.entries GROUP BY partition ORDER BY partition

-- entries: those of a partition's tree, in order
SELECT entries FROM ledger.entries WHERE partition = %(partition)s ORDER BY first

-- share: this snapshot, for other connections
SELECT pg_export_snapshot()

-- read_until: how far the ledger has read the log
SELECT partition, next_offset FROM projection.offset WHERE consumer = 'ledger'

-- set_aside: records of the log that are no event
SELECT partition, "offset" FROM projection.poison WHERE topic = %(topic)s

-- waiting: events that wait for others before the ledger takes them
SELECT source, count(*) FROM projection.parked WHERE consumer = 'ledger' GROUP BY source

-- journal: a journal's events of these slices by subject, in order; is this one the last by the head?
SELECT uuid_send(e.subject), e.seq, e.value, h.seq IS NOT DISTINCT FROM e.seq
FROM journal.event e LEFT JOIN journal.head h ON h.subject = e.subject
WHERE e.slice BETWEEN %(first)s AND %(last)s AND (%(all)s OR e.subject IN (
    SELECT subject FROM journal.event WHERE slice BETWEEN %(first)s AND %(last)s AND recorded >= %(since)s
))
ORDER BY e.subject, e.seq

-- slice: the ledger's events of a slice
SELECT uuid_send(subject), source, seq, sha256(value) FROM ledger.event
WHERE slice = %(slice)s AND recorded >= %(since)s

-- sample: some subjects, or all
SELECT subject FROM ledger.subject ORDER BY md5(subject::text || %(seed)s) LIMIT %(limit)s

-- positions: how far each consumer has applied a subject's events
SELECT consumer, seqs FROM projection.position WHERE subject = %(subject)s
