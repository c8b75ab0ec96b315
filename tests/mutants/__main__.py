"""Try the telling mutants, and say which nobody noticed.

    python -m tests.mutants [NAME …]

All, or those that have one of the names in theirs.
"""

from __future__ import annotations

import os
import sys

from tests.mutants.runner import Fate, Result, check
from tests.mutants.telling import MUTANTS


def main(names: list[str]) -> int:
    """Exit status 0 if every mutant was noticed."""
    chosen = [each for each in MUTANTS if not names or any(name in each.name for name in names)]
    results = check(chosen, os.cpu_count() or 1, _tell)
    killed = sum(result.fate is Fate.KILLED for result in results)
    print(f"{killed} of {len(results)} mutants were noticed")
    return 0 if 0 < killed == len(results) else 1


def _tell(result: Result) -> None:
    mutant = result.mutant
    print(f"{result.fate.value:9} {mutant.name}", flush=True)
    if result.fate is not Fate.KILLED:
        print(f"  {mutant.why}", *mutant.tests, result.output, sep="\n  ", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
