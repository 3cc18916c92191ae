"""`python -m tests.proofs.stale`: which recorded proofs are older than the code they prove."""

from __future__ import annotations

from pathlib import Path

from tests.proofs.modules import program_names
from tests.proofs.record import FOLDER, find_stale


def main() -> None:
    """Print one line per record; never fails: figures age with every change, and `make proof` makes them new."""
    stale = find_stale()
    missing = [name for name in program_names(Path(__file__).parent) if not (FOLDER / f"{name}.json").exists()]
    for name in missing:
        print(f"docs/proofs/{name}.json has never been recorded: make proof NAMES={name}")
    for name, paths in stale.items():
        print(f"docs/proofs/{name}.json is older than {', '.join(paths)}: make proof NAMES={name}")
    if not stale and not missing:
        print("All recorded proofs are as new as the code they prove.")


if __name__ == "__main__":
    main()
