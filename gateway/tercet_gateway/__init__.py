"""The OpenAI API in front of the three stages."""
