-- The number of the last event per subject: the one row that an append must find as it expected.
CREATE SCHEMA journal;

CREATE TABLE journal.head (
    subject uuid PRIMARY KEY,
    seq bigint NOT NULL CHECK (seq > 0)
) WITH (fillfactor = 80);
