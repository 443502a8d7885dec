"""What the deployables agree on: names, messages and settings. Standard library and pydantic only."""
