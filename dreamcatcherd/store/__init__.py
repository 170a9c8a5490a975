"""The old home of the server-side check, kept for the hooks that earlier versions installed in repositories."""
