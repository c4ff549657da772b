"""From the log to the read models: who has seen what, the tables, parking."""
