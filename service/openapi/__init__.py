"""What the OpenAPI document says besides what FastAPI derives from the routes themselves."""
