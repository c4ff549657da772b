-- Which resources have which identifiers, of the types whose identifiers several resources may share: keyed digests of
-- (operator, type, system, value), and when the last version was recorded that had it. A resource whose newest version
-- is newer has it no longer.
CREATE TABLE journal.named (
    digest bytea NOT NULL,
    resource_id uuid NOT NULL,
    recorded timestamptz NOT NULL,
    PRIMARY KEY (digest, resource_id)
);

CREATE FUNCTION journal.name(digests bytea[], resources uuid[], recorded timestamptz[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO journal.named (digest, resource_id, recorded)
    SELECT * FROM unnest(digests, resources, recorded)
    ON CONFLICT (digest, resource_id) DO UPDATE SET recorded = excluded.recorded
$$;
