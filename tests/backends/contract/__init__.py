"""The contract of `Backend`: one suite, run over every backend.

The Svix backend runs against the fake server of its own tests, or a real one if `SVIX_SERVER_URL` and `SVIX_TOKEN` are
set. A real one must be allowed to deliver to loopback: `SVIX_WHITELIST_SUBNETS="[127.0.0.1/32]"`.
"""
