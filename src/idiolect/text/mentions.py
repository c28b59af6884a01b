"""Whether a text speaks of what a phrase names."""

from __future__ import annotations

from collections.abc import Iterable

from idiolect.text.terms import terms


def mentions(text: str, phrases: Iterable[str]) -> bool:
    """Whether all terms of one of the phrases stand in the text, in whatever form and order."""
    words = set(terms(text))
    return any((wanted := set(terms(phrase))) and wanted <= words for phrase in phrases)
