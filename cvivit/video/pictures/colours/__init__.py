"""Convert colours by matrix and range, and by light where these are not enough."""
