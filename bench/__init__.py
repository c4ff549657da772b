"""The bench: speed, memory and size, on this machine. ``python -m bench [row ...]`` prints the table."""
