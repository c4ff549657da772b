"""Who may do what: the whole table of rights, least privilege, in one place.

Owners cannot log in. No role may UPDATE or DELETE an event, and none bypasses row level security.
"""

from __future__ import annotations

JOURNAL = """
GRANT USAGE ON SCHEMA journal TO {service}, {relay}, {worker}, {auditor};
GRANT SELECT, INSERT ON journal.event, journal.identifier, journal.member, journal.named TO {service};
GRANT UPDATE (recorded) ON journal.named TO {service};
GRANT SELECT, INSERT ON journal.head TO {service};
GRANT UPDATE (seq) ON journal.head TO {service};
GRANT SELECT ON journal.tail TO {service}, {relay};
GRANT UPDATE (pos) ON journal.tail TO {service};
GRANT USAGE ON SEQUENCE journal.pos TO {service};
GRANT SELECT ON SEQUENCE journal.pos TO {relay};
GRANT SELECT ON journal.event, journal.relay, journal.lease, journal.relay_member TO {relay};
GRANT UPDATE (pos) ON journal.relay TO {relay};
GRANT UPDATE ON journal.lease TO {relay};
GRANT INSERT, UPDATE, DELETE ON journal.relay_member TO {relay};
GRANT SELECT ON journal.event TO {worker};
GRANT SELECT ON journal.event, journal.head TO {auditor};
"""

INTAKE = """
GRANT USAGE ON SCHEMA inbox TO {intake};
GRANT SELECT, INSERT, DELETE ON inbox.message TO {intake};
GRANT UPDATE (state, result) ON inbox.message TO {intake};
GRANT SELECT, INSERT, DELETE ON inbox.busy TO {intake};
GRANT SELECT, INSERT ON inbox.code_map TO {intake};
GRANT SELECT, INSERT ON inbox.unmapped TO {intake};
GRANT UPDATE (messages, last) ON inbox.unmapped TO {intake};
GRANT USAGE ON SCHEMA inbox TO {reader};
GRANT SELECT ON inbox.unmapped TO {reader};
"""

QUARANTINE = """
GRANT USAGE ON SCHEMA quarantine TO {intake}, {reader}, {auditor};
GRANT SELECT, INSERT ON quarantine.message TO {intake};
GRANT UPDATE (last, times, problems, bytes, sealed, state, settled, by, reason, message)
    ON quarantine.message TO {intake};
GRANT SELECT (id, operator, clinic, door, first, last, times, problems, bytes, state, settled, by, reason, message)
    ON quarantine.message TO {reader};
GRANT SELECT ON quarantine.message TO {auditor};
DROP POLICY IF EXISTS audits ON quarantine.message;
CREATE POLICY audits ON quarantine.message FOR SELECT TO {auditor} USING (true);
"""

SMART = """
GRANT USAGE ON SCHEMA smart TO {intake};
GRANT SELECT, INSERT, DELETE ON smart.assertion TO {intake};
"""

KAFKA_INBOX = """
GRANT SELECT, INSERT ON inbox.place TO {intake};
GRANT UPDATE (topic, next_offset, refusal) ON inbox.place TO {intake};
"""

KEYS = """
GRANT USAGE ON SCHEMA keys TO {intake}, {worker}, {auditor}, {rebuilder}, {door}, {access_audit};
GRANT SELECT, INSERT ON keys.data_key TO {intake}, {access_audit};
GRANT SELECT ON keys.data_key TO {worker}, {auditor}, {rebuilder}, {door};
GRANT SELECT, INSERT ON keys.wrapping_key TO {intake};
GRANT SELECT ON keys.wrapping_key TO {worker}, {auditor}, {rebuilder};
"""

CLUSTER = """
GRANT USAGE ON SCHEMA ledger, projection TO {worker}, {auditor};
GRANT USAGE ON SCHEMA read TO {worker}, {auditor}, {reader}, {door};
GRANT USAGE ON SCHEMA projection TO {reader}, {door};
GRANT SELECT, INSERT ON ledger.event, ledger.entries TO {worker};
GRANT SELECT, INSERT, UPDATE ON ledger.subject, ledger.tree TO {worker};
GRANT SELECT, INSERT, UPDATE ON projection.offset, projection.position TO {worker};
GRANT SELECT, INSERT, UPDATE, DELETE ON projection.parked TO {worker};
GRANT SELECT, INSERT, DELETE ON projection.poison TO {worker};
GRANT TEMPORARY ON DATABASE {database} TO {worker};
GRANT SELECT ON ledger.event, ledger.subject, ledger.entries, ledger.tree, projection.offset, projection.position,
    projection.parked, projection.poison TO {auditor};
GRANT SELECT (consumer, subject) ON projection.parked TO {reader}, {door};
GRANT SELECT ON projection.position TO {door};
GRANT SELECT (schema, projection, state) ON projection.generation TO {door};
GRANT SELECT ON projection.generation, projection.part TO {worker}, {auditor};
GRANT CREATE, TEMPORARY ON DATABASE {database} TO {rebuilder};
GRANT USAGE ON SCHEMA ledger, projection TO {rebuilder};
GRANT USAGE, CREATE ON SCHEMA read TO {rebuilder};
GRANT SELECT ON ledger.event, ledger.subject TO {rebuilder};
GRANT SELECT, INSERT, UPDATE, DELETE ON projection.generation, projection.part TO {rebuilder};
GRANT USAGE ON SCHEMA ledger, proof TO {checkpoint};
GRANT USAGE ON SCHEMA proof TO {auditor};
GRANT SELECT ON ledger.entries TO {checkpoint};
GRANT SELECT (slice, leaf, source) ON ledger.event TO {checkpoint};
GRANT SELECT ON ALL TABLES IN SCHEMA proof TO {checkpoint}, {auditor};
GRANT INSERT ON ALL TABLES IN SCHEMA proof TO {checkpoint};
GRANT UPDATE (hashes) ON proof.tile TO {checkpoint};
GRANT UPDATE (trusted) ON proof.head TO {checkpoint};
GRANT UPDATE (note) ON proof.note TO {checkpoint};
GRANT UPDATE (until) ON proof.key TO {checkpoint};
GRANT UPDATE (size) ON proof.witnessed TO {checkpoint};
GRANT DELETE ON proof.bucket, proof.shelf, proof.note TO {checkpoint};
GRANT USAGE ON SEQUENCE projection.generation_number TO {rebuilder};
GRANT SELECT, INSERT, UPDATE, DELETE ON projection.offset TO {rebuilder};
GRANT SELECT, INSERT, DELETE ON projection.position, projection.parked TO {rebuilder};
"""

LOGINS = ("intake", "relay", "worker", "reader", "auditor", "rebuilder", "door", "checkpoint")
"""The roles that log in, beside one per service."""

SURVEYORS = ("relay", "reader", "auditor", "rebuilder")
"""Those of them that read whole tables; all others only look rows up by their keys."""

SEEN = """
CREATE OR REPLACE VIEW read.ledger_seen WITH (security_barrier) AS
    SELECT slice, subject, source, seq, recorded, value, n FROM ledger.event
    WHERE source <> 'access_audit' AND (source = 'directory' OR {mine});
GRANT SELECT ON read.ledger_seen TO {door};
"""
"""The events of the ledger that a clinic's door sees: of the subjects of its roster, and the directory's; not
who has read them."""
