"""Choosing what fits: pieces of text under a token budget, the best first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from idiolect.text.rendering import defuse, opens_role
from idiolect.types import Block, Item

SMALLEST = 12
"""Stop looking for pieces that fit once fewer tokens than this are left."""
_ROLES = 10
"""Tokens that the usual chat templates put around two messages."""


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


def fit_turns(block: Block, budget: int, count: Callable[[str], int], said: set[str]) -> tuple[tuple[Item, ...], int]:
    """Take exchanges in falling score while they fit whole; what could open a role of a chat template is left out."""
    used, chosen = 0, list[Item]()
    for item in sorted(block.items, key=lambda item: -item.score):
        words = item.text.casefold()
        cost = count(item.header) + count(item.text) + _ROLES
        if words in said or opens_role(item.header) or opens_role(item.text) or used + cost > budget:
            continue
        used += cost
        said.add(words)
        chosen.append(item)
    return tuple(sorted(chosen, key=lambda item: item.order)), used


def share_out(
    blocks: Sequence[Block], budget: int, count: Callable[[str], int]
) -> list[tuple[Block, tuple[Item, ...]]]:
    """Divide ``budget`` tokens among blocks by their shares; room that one leaves goes to the ones after it.

    What several blocks offer is said once, by the first. Exchanges are taken whole, their lines kept.
    """
    left, shares = budget, sum(block.share for block in blocks)
    said = set[str]()
    out: list[tuple[Block, tuple[Item, ...]]] = []
    for block in blocks:
        title = 0 if block.turns else count(f"\n{block.title}\n")
        allowance = int(left * block.share / shares) if shares > 0 else 0
        items, used = (fit_turns if block.turns else fit)(block, allowance - title, count, said)
        if items:
            left -= used + title
            out.append((block, items))
        shares -= block.share
    return out
