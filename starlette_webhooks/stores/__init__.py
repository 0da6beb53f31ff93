"""The stores of the backends, one package per database."""
