"""Blue and green: how a release takes the place of another one while people work (`docs/releases.md`)."""
