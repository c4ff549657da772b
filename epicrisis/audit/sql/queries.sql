-- lock: one at a time makes checkpoints
SELECT pg_advisory_xact_lock(hashtext('proof.checkpoint'))

-- head: one, or the newest, or the newest trusted one
SELECT number, entry FROM proof.head
WHERE (%(number)s::bigint IS NULL OR number = %(number)s) AND (trusted OR NOT %(trusted)s)
ORDER BY number DESC LIMIT 1

-- add_head: a new one
INSERT INTO proof.head (number, entry) VALUES (%(number)s, %(entry)s)

-- trust: enough witnesses have cosigned it
UPDATE proof.head SET trusted = true WHERE number = %(number)s

-- entries: of a partition's tree, those from here on, a part of them
SELECT first, entries FROM ledger.entries WHERE partition = %(partition)s AND first >= %(first)s
ORDER BY first LIMIT %(limit)s

-- accesses: which of these entries are accesses, by their index
SELECT leaf FROM ledger.event
WHERE source = 'access_audit' AND slice = ANY(%(slices)s::smallint[]) AND leaf >= %(first)s AND leaf < %(last)s
ORDER BY leaf

-- tile: its hashes
SELECT hashes FROM proof.tile WHERE tree = %(tree)s AND level = %(level)s AND number = %(number)s

-- add_tile: more hashes at its end
INSERT INTO proof.tile (tree, level, number, hashes) VALUES (%(tree)s, %(level)s, %(number)s, %(hashes)s)
ON CONFLICT (tree, level, number) DO UPDATE SET hashes = tile.hashes || EXCLUDED.hashes

-- buckets: as of a head
SELECT DISTINCT ON (bucket) bucket, members FROM proof.bucket
WHERE bucket = ANY(%(numbers)s) AND head <= %(head)s ORDER BY bucket, head DESC

-- shelves: as of a head
SELECT DISTINCT ON (shelf) shelf, hashes FROM proof.shelf
WHERE shelf = ANY(%(numbers)s) AND head <= %(head)s ORDER BY shelf, head DESC

-- drop_buckets: what a head that was never trusted said of these
DELETE FROM proof.bucket WHERE bucket = ANY(%(numbers)s) AND head > %(trusted)s

-- drop_shelves: what a head that was never trusted said of these
DELETE FROM proof.shelf WHERE shelf = ANY(%(numbers)s) AND head > %(trusted)s

-- add_buckets: as of a new head
INSERT INTO proof.bucket (bucket, head, members)
SELECT bucket, %(head)s, members FROM unnest(%(numbers)s::int[], %(contents)b::bytea[]) AS b (bucket, members)

-- add_shelves: as of a new head
INSERT INTO proof.shelf (shelf, head, hashes)
SELECT shelf, %(head)s, hashes FROM unnest(%(numbers)s::smallint[], %(contents)b::bytea[]) AS s (shelf, hashes)

-- forget_buckets: what is older than what the trusted head says
DELETE FROM proof.bucket AS b USING proof.bucket AS newer
WHERE newer.head > %(before)s AND newer.head <= %(head)s AND b.bucket = newer.bucket AND b.head < newer.head

-- forget_shelves: what is older than what the trusted head says
DELETE FROM proof.shelf AS s USING proof.shelf AS newer
WHERE newer.head > %(before)s AND newer.head <= %(head)s AND s.shelf = newer.shelf AND s.head < newer.head

-- note: signed
SELECT note FROM proof.note WHERE tree = %(tree)s AND size = %(size)s

-- add_note: signed
INSERT INTO proof.note (tree, size, note) VALUES (%(tree)s, %(size)s, %(note)s)

-- cosign: more signatures at its end
UPDATE proof.note SET note = note || %(lines)s WHERE tree = %(tree)s AND size = %(size)s

-- forget_notes: smaller than the trusted one
DELETE FROM proof.note WHERE tree = %(tree)s AND size < %(size)s

-- file: by its digest
SELECT content FROM proof.file WHERE digest = %(digest)s

-- add_file: once
INSERT INTO proof.file (digest, content) VALUES (%(digest)s, %(content)s) ON CONFLICT DO NOTHING

-- keys: all that have ever signed
SELECT key, since, until FROM proof.key ORDER BY since, key

-- add_key: it signs from now on
INSERT INTO proof.key (key, since) VALUES (%(key)s, %(now)s) ON CONFLICT (key) DO UPDATE SET until = NULL

-- end_keys: all others have ceased to sign
UPDATE proof.key SET until = %(now)s WHERE until IS NULL AND key <> ALL(%(keys)s)

-- witnessed: how far a witness knows the trees
SELECT tree, size FROM proof.witnessed WHERE witness = %(witness)s

-- save_witnessed: it knows this one so far
INSERT INTO proof.witnessed (witness, tree, size) VALUES (%(witness)s, %(tree)s, %(size)s)
ON CONFLICT (witness, tree) DO UPDATE SET size = EXCLUDED.size
