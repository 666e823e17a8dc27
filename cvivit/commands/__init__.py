"""The `cvivit` command line."""
