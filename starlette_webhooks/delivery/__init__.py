"""Making deliveries: the dispatcher, its limits, and the HTTP client. Knows no database."""
