"""The page where customers manage their webhooks, and the sessions that links to it carry."""
