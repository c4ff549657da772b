"""The kernel of Epicrisis: journal, log, ledger and projections, with no clinical policy inside."""

__version__ = "0.1.0"
