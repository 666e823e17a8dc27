"""The middleware, from access to admission."""
