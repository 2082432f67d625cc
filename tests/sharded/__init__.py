"""A project whose jobs are in two databases, with doors for each of them."""
