"""Training that knows no method: encoders of people and the loops that fit them over frozen language models."""
