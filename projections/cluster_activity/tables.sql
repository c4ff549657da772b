CREATE TABLE cluster_activity (
    operator text NOT NULL,
    clinic text NOT NULL,
    month date NOT NULL,
    event_type text NOT NULL,
    diagnosis_group text NOT NULL,
    events bigint NOT NULL,
    shard smallint NOT NULL,
    PRIMARY KEY (operator, clinic, month, event_type, diagnosis_group, shard)
);
COMMENT ON TABLE cluster_activity IS 'Events per operator, clinic, month, event type and diagnosis group; a shard per worker, to be summed';
