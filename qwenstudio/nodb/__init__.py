"""A database backend for processes that were given no `DATABASE_URL`: it connects to nothing and says so."""
