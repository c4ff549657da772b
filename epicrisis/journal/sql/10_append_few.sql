-- A whole append of few events in one call, which commits by itself: most messages bring a handful, and then the way
-- there and back is what costs. What `prepare` refuses is an error here, so that nothing of it stays.
DROP FUNCTION journal.append_few;

CREATE FUNCTION journal.append_few(
    slices int[],
    subjects uuid[], expected bigint[], counts bigint[],
    ids uuid[], streams text[],
    digests bytea[], resources uuid[],
    admitted uuid[], operators text[],
    recorded timestamptz[], owners uuid[], seqs int[], event_slices smallint[],
    streams_at smallint[], stream_lengths smallint[], vals bytea[]
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT journal.prepare(
        slices, subjects, expected, counts, ids, streams, digests, resources, admitted, operators
    ) THEN
        RAISE EXCEPTION USING ERRCODE = 'serialization_failure';
    END IF;
    INSERT INTO journal.event (recorded, subject, seq, slice, stream_at, stream_length, value)
    SELECT e.recorded, e.subject, e.seq, e.slice, e.stream_at, e.stream_length, e.value
    FROM unnest(recorded, owners, seqs, event_slices, streams_at, stream_lengths, vals)
        WITH ORDINALITY AS e (recorded, subject, seq, slice, stream_at, stream_length, value, number)
    ORDER BY e.number;
    PERFORM journal.move_tails(slices);
END $$;
