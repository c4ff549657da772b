"""Fsck: are journals, log, ledger and read models one and the same history? Exact about what differs, and where.

ledger.py      the ledger by subject: its chains recomputed, its numbers without gaps
journals.py    every journal beside it, event by event
log.py         the log beside it: a sum per slice, and where sums differ, event by event
models.py      read models beside the fold of the ledger
"""
