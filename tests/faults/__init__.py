"""An app that makes workers fail where a test says, for the workers that tests start."""
