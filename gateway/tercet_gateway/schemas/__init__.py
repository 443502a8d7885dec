"""What callers send, as data: pydantic models of the request bodies."""
