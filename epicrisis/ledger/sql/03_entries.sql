-- Each partition's events in the order in which they were archived: the entries of its Merkle tree, 56 bytes each
-- (subject, n as 8 bytes big-endian, link). One row per batch; first is the index of its first entry.
CREATE TABLE ledger.entries (
    partition smallint NOT NULL,
    first bigint NOT NULL,
    entries bytea STORAGE EXTERNAL NOT NULL,
    PRIMARY KEY (partition, first)
);

-- How many entries each partition has.
CREATE TABLE ledger.tree (
    partition smallint PRIMARY KEY,
    size bigint NOT NULL
) WITH (fillfactor = 50);

-- The event's index among the entries of its partition.
ALTER TABLE ledger.event ADD COLUMN leaf bigint;
