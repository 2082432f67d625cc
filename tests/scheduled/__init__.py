"""An app whose code declares the schedules that its environment names."""
