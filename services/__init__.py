"""Bounded contexts: each decides for itself what may happen, and keeps its own journal."""
