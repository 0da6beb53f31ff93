"""The relay, with a real outbox and a target that the tests control, without Svix."""
