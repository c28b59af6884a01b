"""Model level: weights for a person, added to those of one frozen model."""
