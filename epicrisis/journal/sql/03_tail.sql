-- The last pos per slice, so that a relay sees in one small scan which slices have news.
CREATE TABLE journal.tail (
    slice smallint PRIMARY KEY,
    pos bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 60);

INSERT INTO journal.tail (slice) SELECT generate_series(0, 1023);
