-- (04_event.sql makes the table of events anew, narrower.)
-- The ledger: every event in log order, chained per subject. Replay, rebuild and proof read it.
CREATE SCHEMA ledger;

-- One row per event. n counts a subject's events over all services; link is the chain hash over the sealed value. In
-- parts of 64 slices: a part is read at once where read models are rebuilt.
CREATE TABLE ledger.event (
    seq bigint NOT NULL,
    n bigint NOT NULL,
    recorded timestamptz NOT NULL,
    subject uuid NOT NULL,
    slice smallint NOT NULL,
    source text NOT NULL,
    link bytea NOT NULL,
    value bytea STORAGE EXTERNAL NOT NULL,
    PRIMARY KEY (subject, source, seq, slice)
) PARTITION BY RANGE (slice);

DO $$
BEGIN
    FOR part IN 0..15 LOOP
        EXECUTE format('CREATE TABLE ledger.event_%s PARTITION OF ledger.event FOR VALUES FROM (%s) TO (%s)',
                       part, part * 64, (part + 1) * 64);
    END LOOP;
END $$;
