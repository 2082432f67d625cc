"""An app for worker processes in trouble: other constants, counted claims, early connections."""
