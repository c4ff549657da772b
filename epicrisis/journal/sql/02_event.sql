-- (09_event.sql makes this table anew, narrower.)
-- The events: the authority. Partitioned by slice range; inside a slice the order of pos is the order of commits,
-- because every append holds the slice's advisory lock until it commits.
CREATE SEQUENCE journal.pos;

CREATE TABLE journal.event (
    pos bigint NOT NULL DEFAULT nextval('journal.pos'),
    seq bigint NOT NULL,
    recorded timestamptz NOT NULL,
    subject uuid NOT NULL,
    id uuid NOT NULL,
    slice smallint NOT NULL CHECK (slice BETWEEN 0 AND 1023),
    type text NOT NULL,
    stream text NOT NULL,
    value bytea STORAGE EXTERNAL NOT NULL,
    PRIMARY KEY (slice, pos)
) PARTITION BY RANGE (slice);

DO $$
BEGIN
    FOR part IN 0..3 LOOP
        EXECUTE format('CREATE TABLE journal.event_%s PARTITION OF journal.event FOR VALUES FROM (%s) TO (%s)',
                       part, part * 256, (part + 1) * 256);
    END LOOP;
END $$;

-- Deciders load one stream of one subject. The hash keeps the index at a third of what the text would take.
CREATE INDEX event_stream ON journal.event (hashtextextended(stream, 0));
