"""What listens: so far the schema registry's read-only routes, health and metrics."""
