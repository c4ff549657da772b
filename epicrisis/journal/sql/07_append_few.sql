-- (10_append_few.sql has it anew, for the narrower events of 09_event.sql.)
-- A whole append of few events in one call, which commits by itself: most messages bring a handful, and then the way
-- there and back is what costs. What `prepare` refuses is an error here, so that nothing of it stays.
CREATE FUNCTION journal.append_few(
    slices int[],
    subjects uuid[], expected bigint[], counts bigint[],
    ids uuid[], streams text[],
    digests bytea[], resources uuid[],
    admitted uuid[], operators text[],
    seqs bigint[], recorded timestamptz[], owners uuid[], event_ids uuid[], event_slices smallint[],
    types text[], event_streams text[], vals bytea[]
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT journal.prepare(
        slices, subjects, expected, counts, ids, streams, digests, resources, admitted, operators
    ) THEN
        RAISE EXCEPTION USING ERRCODE = 'serialization_failure';
    END IF;
    INSERT INTO journal.event (seq, recorded, subject, id, slice, type, stream, value)
    SELECT e.seq, e.recorded, e.subject, e.id, e.slice, e.type, e.stream, e.value
    FROM unnest(seqs, recorded, owners, event_ids, event_slices, types, event_streams, vals)
        WITH ORDINALITY AS e (seq, recorded, subject, id, slice, type, stream, value, number)
    ORDER BY e.number;
    PERFORM journal.move_tails(slices);
END $$;
