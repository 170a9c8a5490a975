"""The only place with loops, threads and signals; and the cycle that they run."""
