"""The stages of a close: fetch, ingest, plan, merge, snapshot, publish, and what each of them needs."""
