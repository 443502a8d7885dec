"""What is said to the demo and what it answers: a seeded grammar, pure Python."""
