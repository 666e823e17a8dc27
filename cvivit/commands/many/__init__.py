"""Commands that turn many inputs into as many outputs: plans, what is done already, and summaries."""
