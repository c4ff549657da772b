CREATE TABLE cluster_access (
    subject uuid NOT NULL,
    id uuid NOT NULL,
    recorded timestamptz NOT NULL,
    operator text NOT NULL,
    clinic text NOT NULL,
    client text NOT NULL,
    user_id text NOT NULL,
    patient boolean NOT NULL,
    interaction text NOT NULL,
    action text NOT NULL,
    resource_type text NOT NULL,
    outcome text NOT NULL,
    status bigint NOT NULL,
    purpose text NOT NULL,
    reason text NOT NULL,
    break_glass_id text NOT NULL,
    request_id text NOT NULL,
    delivered jsonb NOT NULL,
    PRIMARY KEY (subject, id)
);
COMMENT ON TABLE cluster_access IS 'Who was given what of a record, when and why, or was refused it';
CREATE INDEX cluster_access_recorded ON cluster_access (subject, recorded);

CREATE TABLE cluster_access_break_glass (
    subject uuid NOT NULL,
    break_glass_id text NOT NULL,
    started timestamptz,
    until timestamptz,
    ended timestamptz,
    ended_by text NOT NULL,
    over boolean NOT NULL,
    operator text NOT NULL,
    clinic text NOT NULL,
    client text NOT NULL,
    user_id text NOT NULL,
    purpose text NOT NULL,
    reason text NOT NULL,
    accesses bigint NOT NULL,
    reviewed timestamptz,
    reviewed_by text NOT NULL,
    justified boolean,
    note text NOT NULL,
    PRIMARY KEY (subject, break_glass_id)
);
COMMENT ON TABLE cluster_access_break_glass IS 'Who broke the glass to read whom, how often they did, and what a review found';
