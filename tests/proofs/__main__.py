"""`python -m tests.proofs [name …]`: run the proofs named, or all."""

from __future__ import annotations

import sys

from tests.proofs.modules import run_programs

if __name__ == "__main__":
    sys.exit(run_programs("tests.proofs", sys.argv[1:]))
