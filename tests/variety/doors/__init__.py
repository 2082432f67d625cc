"""Where the projects have their admin and their API, and what they put in their way."""
