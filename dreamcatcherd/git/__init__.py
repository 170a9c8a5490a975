"""git as a store: objects, refs, packs, remotes, locks and signatures. pygit2 is imported in this package alone."""
