"""The long figures behind what the README and `docs/` promise: one module per proof, run by `make proof`."""
