-- What every consumer of the log remembers in the same transaction as its rows.
CREATE SCHEMA projection;
CREATE SCHEMA read;

-- One row per consumer (a projection's version, or the ledger) and partition: where to read on, and who may.
CREATE TABLE projection.offset (
    consumer text NOT NULL,
    partition smallint NOT NULL,
    next_offset bigint NOT NULL DEFAULT 0,
    epoch bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (consumer, partition)
) WITH (fillfactor = 60);
