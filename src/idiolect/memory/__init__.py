"""What is worth keeping of what a user tells the assistant."""
