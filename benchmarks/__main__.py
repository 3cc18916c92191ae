"""`python -m benchmarks [name …]`: run the benchmarks named, or all."""

from __future__ import annotations

import sys

from tests.proofs.modules import run_programs

if __name__ == "__main__":
    sys.exit(run_programs("benchmarks", sys.argv[1:]))
