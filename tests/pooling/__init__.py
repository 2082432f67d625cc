"""A database backend with a pool of its own, as packages have it: sessions are kept when they are closed."""
