-- A parked subject's events wait here in order, per consumer; the first one says why.
CREATE TABLE projection.parked (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    consumer text NOT NULL,
    subject uuid NOT NULL,
    partition smallint NOT NULL,
    "offset" bigint NOT NULL,
    source text NOT NULL,
    seq bigint NOT NULL,
    reason text NOT NULL,
    parked_at timestamptz NOT NULL DEFAULT now(),
    value bytea NOT NULL,
    UNIQUE (subject, consumer, source, seq)
);

CREATE INDEX parked_subject ON projection.parked (subject, consumer, id);

-- Records that cannot even be ascribed to a subject: kept, shown, never skipped in silence.
CREATE TABLE projection.poison (
    topic text NOT NULL,
    partition smallint NOT NULL,
    "offset" bigint NOT NULL,
    reason text NOT NULL,
    found_at timestamptz NOT NULL DEFAULT now(),
    key bytea,
    value bytea,
    PRIMARY KEY (topic, partition, "offset")
);
