"""Mutation testing of the core and the stages: would a test fail if the code were wrong? `make mutate` runs it."""
