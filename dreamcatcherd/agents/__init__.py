"""Tools for language models: a Model Context Protocol server on standard input and output."""
