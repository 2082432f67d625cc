"""The verbs through the ORM, for any database that Django knows."""
