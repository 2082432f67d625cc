"""An app of tasks that end their processes, and of circumstances in which these end."""
