"""How a repository begins: empty, from an export, or from the state of a platform."""
