"""An app whose tasks leave their process, or its connections, as the next job should not find them."""
