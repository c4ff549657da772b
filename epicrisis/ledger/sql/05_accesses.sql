-- Which entries of the partitions' trees are accesses to a record: of them the checkpoints have a tree of their own.
CREATE INDEX event_access ON ledger.event (slice, leaf) WHERE source = 'access_audit';
