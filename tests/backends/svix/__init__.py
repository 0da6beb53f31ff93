"""Tests of the Svix engine, against a fake server, or a real one where `SVIX_SERVER_URL` and `SVIX_TOKEN` are set."""
