-- The generations of each projection: a version of its code, filled once, in a schema of its own, which is also the
-- name of the consumer that fills it. Workers follow what is ready, live or retired and whose version is their code's.
CREATE TABLE projection.generation (
    schema text PRIMARY KEY,
    projection text NOT NULL,
    version integer NOT NULL,
    state text NOT NULL CHECK (state IN ('building', 'ready', 'live', 'retired')),
    begun_at timestamptz NOT NULL DEFAULT now(),
    filled_at timestamptz,
    swapped_at timestamptz,
    indexes text[] NOT NULL DEFAULT '{}'
);
COMMENT ON COLUMN projection.generation.indexes IS 'What is made only once the tables are filled';

CREATE UNIQUE INDEX generation_live ON projection.generation (projection) WHERE state = 'live';
CREATE UNIQUE INDEX generation_next ON projection.generation (projection) WHERE state IN ('building', 'ready');
CREATE SEQUENCE projection.generation_number;
