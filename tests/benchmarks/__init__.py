"""Speed, measured beside the peers in the same run on the same database server."""
