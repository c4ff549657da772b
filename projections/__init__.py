"""The read models, a folder each: ``__init__.py`` (rows and pure functions), ``tables.sql``, ``reads.sql``.

The kernel finds them by folder. ``reads.sql`` is the one SELECT that readers see, under the projection's own name.
"""
