"""The parts of the OpenAPI document that FastAPI cannot derive from the routes."""
