"""Many clients before a studio as it is installed, and before the pattern that its users come from."""
