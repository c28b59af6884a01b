"""Input level: methods that put a person into the prompt, and the assembly of that prompt."""
