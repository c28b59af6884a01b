"""What happens between logits and tokens, without any method: mixtures, steering, choosing among drafts."""
