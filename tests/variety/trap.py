"""Nothing imports this: its name is in rows only, and whoever imports what a row names would be found out."""
