"""Tests of the Svix backend, against a fake server, or a real one if `SVIX_SERVER_URL` and `SVIX_TOKEN` are set."""
