"""The report of an evaluation: its figures, its page, its plots and pictures, and its folder."""
