-- How far each slice has been relayed, and who may relay it: leases are held by share (64 slices).
CREATE TABLE journal.relay (
    slice smallint PRIMARY KEY,
    pos bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 60);

INSERT INTO journal.relay (slice) SELECT generate_series(0, 1023);

CREATE TABLE journal.lease (
    share smallint PRIMARY KEY,
    epoch bigint NOT NULL DEFAULT 0,
    owner uuid,
    lease_until timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 60);

INSERT INTO journal.lease (share) SELECT generate_series(0, 15);

-- The relays that are alive, so that each takes its fair share.
CREATE TABLE journal.relay_member (
    owner uuid PRIMARY KEY,
    seen timestamptz NOT NULL
);
