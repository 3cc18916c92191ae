"""What may be done with generations: one file per use case. `docs/architecture.md` tells the way of one picture."""
