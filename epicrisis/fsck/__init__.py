"""Fsck: are journals, log, ledger and read models one and the same history? Exact about what differs, and where.

sums.py        what is in two places, compared by a sum, each place read once, in parts, by several processes
ledger.py      the ledger by subject: its chains recomputed, its numbers without gaps
journals.py    every journal beside it, event by event
log.py         the log beside it: a sum per slice, and where sums differ, event by event
proof.py       the entries of the trees beside it: a sum per partition, and where sums differ, entry by entry
models.py      read models beside the fold of the ledger
parts.py       what one process reads: a part of the ledger with the journals beside it, or of the log
"""
