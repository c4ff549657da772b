-- What the doors refused: sealed, each under a data key of its own; in clear only codes and places, never a value.
CREATE SCHEMA quarantine;

CREATE TABLE quarantine.message (
    id uuid PRIMARY KEY,
    same uuid NOT NULL,
    operator text NOT NULL,
    clinic text NOT NULL,
    door text NOT NULL,
    first timestamptz NOT NULL,
    last timestamptz NOT NULL,
    times bigint NOT NULL DEFAULT 1,
    problems jsonb NOT NULL,
    bytes bigint NOT NULL,
    key uuid NOT NULL,
    sealed bytea STORAGE EXTERNAL,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'resubmitted', 'discarded')),
    settled timestamptz,
    by text,
    reason text,
    message uuid,
    CHECK ((state = 'waiting') = (settled IS NULL) AND (settled IS NULL) = (by IS NULL)),
    CHECK ((state = 'discarded') = (reason IS NOT NULL)),
    CHECK ((state = 'resubmitted') = (message IS NOT NULL)),
    CHECK ((state = 'resubmitted') = (sealed IS NULL))
);
