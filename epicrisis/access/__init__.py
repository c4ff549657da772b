"""Access audit: whoever is given a patient's data is recorded before they leave. See docs/how-to/access-audit.md."""
