"""Choosing what fits: pieces of text under a token budget, the best first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from idiolect.text.rendering import defuse
from idiolect.types import Block, Item

SMALLEST = 12
"""Stop looking for pieces that fit once fewer tokens than this are left."""


def line(text: str) -> str:
    """Return stored text as one defused line, its whitespace collapsed: line costs then add up."""
    return defuse(" ".join(text.split())) + "\n"


def fit(block: Block, budget: int, count: Callable[[str], int], said: set[str]) -> tuple[tuple[Item, ...], int]:
    """Take a block's items in falling score while they fit; return them as lines in reading order, and the tokens used.

    A header is paid for once. An item that does not fit is passed over and the next is tried. What is in ``said``
    already is passed over too; what is taken is added to it.
    """
    used, headers = 0, set[str]()
    chosen: list[Item] = []
    for item in sorted(block.items, key=lambda item: -item.score):
        text, header = line(item.text), line(item.header) if item.header else ""
        words = text.strip(" -\n").casefold()
        if words in said:
            continue
        cost = count(text)
        if header and header not in headers:
            cost += count(header)
        if used + cost <= budget:
            used += cost
            headers.add(header)
            said.add(words)
            chosen.append(replace(item, text=text.rstrip("\n"), header=header.rstrip("\n")))
        elif budget - used < SMALLEST:
            break
    return tuple(sorted(chosen, key=lambda item: item.order)), used


def share_out(
    blocks: Sequence[Block], budget: int, count: Callable[[str], int]
) -> list[tuple[Block, tuple[Item, ...]]]:
    """Divide ``budget`` tokens among blocks by their shares; room that one leaves goes to the ones after it.

    What several blocks offer is said once, by the first.
    """
    left, shares = budget, sum(block.share for block in blocks)
    said = set[str]()
    out: list[tuple[Block, tuple[Item, ...]]] = []
    for block in blocks:
        title = count(f"\n{block.title}\n")
        allowance = int(left * block.share / shares) if shares > 0 else 0
        items, used = fit(block, allowance - title, count, said)
        if items:
            left -= used + title
            out.append((block, items))
        shares -= block.share
    return out
