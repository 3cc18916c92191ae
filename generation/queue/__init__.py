"""Redis and RQ: wake-ups and events. Carries ids and dotted names, never objects."""
