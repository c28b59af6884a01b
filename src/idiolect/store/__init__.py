"""The store: everything about one user in one place, sealed with that user's own key."""
