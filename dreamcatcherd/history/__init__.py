"""Looking back: receipts, provenance, queries, replay, verify and archives of closed frames."""
