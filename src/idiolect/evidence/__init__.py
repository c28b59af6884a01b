"""Proof for each person: which method serves whom, measured on their own latest records."""
