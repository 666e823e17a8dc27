"""Check that everything runs and agrees on a machine with a GPU, and measure its speed."""
