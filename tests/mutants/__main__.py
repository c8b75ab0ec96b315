"""Try mutants, and say which nobody noticed.

    python -m tests.mutants [--telling] [NAME …]

All; with --telling the few that every run of the suite tries; with names those that have one in theirs.
"""

from __future__ import annotations

import os
import sys

from tests.mutants.catalogue import MUTANTS
from tests.mutants.runner import Fate, Result, check


def main(words: list[str]) -> int:
    """Exit status 0 if every mutant was noticed."""
    telling = "--telling" in words
    names = [word for word in words if word != "--telling"]
    chosen = [
        mutant
        for mutant in MUTANTS
        if (mutant.telling or not telling) and (not names or any(name in mutant.name for name in names))
    ]
    results = check(chosen, os.cpu_count() or 1, _tell)
    killed = sum(result.fate is Fate.KILLED for result in results)
    print(f"{killed} of {len(results)} mutants were noticed")
    return 0 if 0 < killed == len(results) else 1


def _tell(result: Result) -> None:
    mutant = result.mutant
    print(f"{result.fate.value:9} {mutant.name}", flush=True)
    if result.fate is not Fate.KILLED:
        print(f"  {mutant.file}: {mutant.why}", *mutant.tests, result.output, sep="\n  ", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
