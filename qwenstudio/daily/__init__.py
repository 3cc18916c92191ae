"""Yesterday in one page: `manage.py daily`."""
