"""`make law`: the law on many generated sets of deltas, under several hash seeds, outside the test suite.

With an engine, all frames are closed by its workers: `make law ENGINE=inline`, `ENGINE=processes` or `ENGINE=dask`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

TESTS = ("tests/law/test_law.py", "tests/law/test_answers.py", "tests/law/test_books.py")
SEEDS = ("0", "1", "4242", "random")


def main(examples: int, engine: str) -> int:
    """Run each property on so many sets under each hash seed, and say what was run."""
    spread = f", closed by the engine {engine}" if engine else ""
    for seed in SEEDS:
        start = time.perf_counter()
        print(f"hash seed {seed}: {examples} sets for each property{spread}", flush=True)
        given = {"PYTHONHASHSEED": seed, "LAW_EXAMPLES": str(examples), "LAW_ENGINE": engine}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--hypothesis-profile=explore", *TESTS],
            env={**os.environ, **given},
            check=False,
        )
        print(f"hash seed {seed}: {time.perf_counter() - start:.0f} s, exit {done.returncode}", flush=True)
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.law.run", description="Run the law at length.")
    parser.add_argument("examples", type=int)
    parser.add_argument("--engine", choices=["inline", "processes", "dask"], default="")
    words = parser.parse_args()
    sys.exit(main(words.examples, words.engine))
