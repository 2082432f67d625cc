"""An app whose receivers of signals behave in the way that HOSTILE names."""
