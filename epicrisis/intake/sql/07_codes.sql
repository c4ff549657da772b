-- Every version of an operator's code map that a message was decided by: it is decided by the same one when it is finished
-- later.
CREATE TABLE inbox.code_map (
    digest bytea PRIMARY KEY,
    kept timestamptz NOT NULL DEFAULT now(),
    rows bytea NOT NULL
);
ALTER TABLE inbox.message ADD COLUMN codes bytea NOT NULL DEFAULT '';
