"""HTTP: metrics, health, the API and the status page. Read-only; the loop of the daemon never waits for it."""
