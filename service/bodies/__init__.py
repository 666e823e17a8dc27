"""Request bodies in and answers out."""
