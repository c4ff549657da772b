"""The published language: the events that services emit and projections read. Both sides meet here and nowhere else.

One module per context; beside it the released Avro schemas (``<Event>.v<N>.avsc``), append-only.
"""
