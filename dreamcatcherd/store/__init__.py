"""Git knowledge: objects, refs, ingest, publish. The only place that knows pygit2 and runs git."""
