"""`python -m tests.proofs.stale`: which recorded proofs are older than the code they prove."""

from __future__ import annotations

from tests.proofs.record import FOLDER, find_stale


def main() -> None:
    """Print one line per record; never fails: figures age with every change, and `make proof` makes them new."""
    if not any(FOLDER.glob("*.json")):
        print("No proof has been recorded yet: make proof")
        return
    stale = find_stale()
    for name, paths in stale.items():
        print(f"docs/proofs/{name}.json is older than {', '.join(paths)}: make proof NAMES={name}")
    if not stale:
        print("All recorded proofs are as new as the code they prove.")


if __name__ == "__main__":
    main()
