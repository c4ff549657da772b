-- One data key per subject, wrapped. A destroyed one keeps its row, so that the subject never gets another.
CREATE SCHEMA keys;

CREATE TABLE keys.data_key (
    id uuid PRIMARY KEY,
    subject uuid NOT NULL UNIQUE,
    wrapped bytea,
    wrapping text NOT NULL,
    created timestamptz NOT NULL DEFAULT now(),
    destroyed timestamptz,
    CHECK ((wrapped IS NULL) = (destroyed IS NOT NULL))
);
