"""A repository in memory for tests, of this project and of its users."""
