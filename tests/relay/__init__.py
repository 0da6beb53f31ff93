"""The relay, with a real outbox and a target that the tests decide about. No Svix."""
