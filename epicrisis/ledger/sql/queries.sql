-- heads: where the chains of these subjects stand
SELECT subject, n, link FROM ledger.subject WHERE subject = ANY(%(subjects)s)

-- copy_events: archive
COPY ledger.event (leaf, recorded, subject, seq, n, slice, source, link, value) FROM STDIN (FORMAT BINARY)

-- grow: entries behind those that these partitions have; the index of the first of them in each
WITH given AS (
    SELECT * FROM unnest(%(partitions)s::smallint[], %(entries)b::bytea[]) AS g (partition, entries)
), grown AS (
    INSERT INTO ledger.tree AS t (partition, size)
    SELECT partition, length(entries) / 56 FROM given ORDER BY partition
    ON CONFLICT (partition) DO UPDATE SET size = t.size + EXCLUDED.size
    RETURNING partition, size
)
INSERT INTO ledger.entries (partition, first, entries)
SELECT partition, size - length(entries) / 56, entries FROM grown JOIN given USING (partition)
RETURNING partition, first

-- save_heads: where the chains stand now
INSERT INTO ledger.subject (subject, n, link)
SELECT * FROM unnest(%(subjects)s::uuid[], %(numbers)s::bigint[], %(links)b::bytea[])
ON CONFLICT (subject) DO UPDATE SET n = EXCLUDED.n, link = EXCLUDED.link

-- history: one subject's events in log order
SELECT n, source, seq, recorded, link, value, leaf FROM ledger.event
WHERE subject = %(subject)s AND slice = %(slice)s
ORDER BY n

-- digest: how many events, and one digest over all chains
SELECT count(*), md5(coalesce(string_agg(subject::text || n || encode(link, 'hex'), ',' ORDER BY subject), ''))
FROM ledger.subject
