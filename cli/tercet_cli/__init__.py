"""The `tercet` command."""
