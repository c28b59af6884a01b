"""Text: terms and BM25, embedding models, token budgets."""
