"""Golden pictures of two lanes side by side, and a verdict by thresholds (`docs/releases.md`)."""
