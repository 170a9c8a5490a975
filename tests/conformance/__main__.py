"""`make vectors`."""

from tests.conformance.build import FOLDER, write

print(f"wrote {write()} cases below {FOLDER}")
