"""An app whose tasks use every option that a task can have."""
