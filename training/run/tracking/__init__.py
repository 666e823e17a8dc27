"""What a run logs and shows."""
