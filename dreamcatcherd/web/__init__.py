"""What is answered over HTTP: metrics, health, the API, the status page. Read-only; the loop never waits for it."""
