"""`make law`: the law on many generated sets of deltas, under several hash seeds, outside the test suite."""

from __future__ import annotations

import os
import subprocess
import sys
import time

TESTS = ("tests/law/test_law.py", "tests/law/test_answers.py", "tests/law/test_books.py")
SEEDS = ("0", "1", "4242", "random")


def main(examples: int) -> int:
    """Run each property on so many sets under each hash seed, and say what was run."""
    for seed in SEEDS:
        start = time.perf_counter()
        print(f"hash seed {seed}: {examples} sets for each property", flush=True)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS],
            env={**os.environ, "PYTHONHASHSEED": seed, "LAW_EXAMPLES": str(examples)},
            check=False,
        )
        print(f"hash seed {seed}: {time.perf_counter() - start:.0f} s, exit {done.returncode}", flush=True)
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
