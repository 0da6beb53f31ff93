"""Forwards events from an outbox to any target: in order, with back-off, and by one process at a time."""
