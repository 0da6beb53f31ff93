"""Forwarding events from an outbox: in order, with back-off, by one process at a time. Independent of the target."""
