"""The middleware that requests pass before their route, and answers after it, with one file for each."""
