"""What each source of a mixture reads and meets: its prompt and its adapters.

A mixture of prompts is one of instructions or contexts (linear alignment, Amulet, context steering); one of adapters is
multi-objective decoding (MOD, arXiv:2406.18853). Sources may differ in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from idiolect.errors import ConfigError
from idiolect.types import Adapter, Branch, Call, Message


@dataclass(frozen=True, slots=True)
class Source:
    """One prompt to read; ``own`` where it is the call's own, so that its soft prompt and steering belong to it.

    What a ``proxy`` reads is never the call's own: these belong to the large model.
    """

    messages: tuple[Message, ...]
    adapters: tuple[Adapter, ...]
    own: bool
    proxy: bool = False


def sources_of(call: Call) -> list[Source]:
    """Return what a call is decoded from: one source for each branch of its mixture, else its own prompt."""
    return [_source(call, branch) for branch in call.mix or (Branch(None, 1.0),)]


def _source(call: Call, branch: Branch) -> Source:
    read = call.messages if branch.messages is None else branch.messages
    own = branch.messages is None and not branch.proxy
    met = (call.adapters if own else ()) if branch.adapters is None else branch.adapters
    return Source(instructed(read, branch.instruction), met, own, branch.proxy)


def lost(call: Call) -> list[str]:
    """Return which of a call's fields no branch of its mixture reads, so that they would do nothing."""
    read = sources_of(call)
    if any(one.own for one in read):
        met = {adapter.id for one in read for adapter in one.adapters}
        return ["adapters"] if any(adapter.id not in met for adapter in call.adapters) else []
    present = {"soft_prompt": call.soft_prompt is not None, "steering": call.steering, "adapters": call.adapters}
    return sorted(name for name, here in present.items() if here)


def instructed(messages: Sequence[Message], instruction: str) -> tuple[Message, ...]:
    """Return messages with an instruction at the end of the system message; the same where there is none to add."""
    if not instruction:
        return tuple(messages)
    first, rest = (messages[0], messages[1:]) if messages and _is_system(messages[0]) else (None, messages)
    if first is None:
        return ({"role": "system", "content": instruction}, *rest)
    return ({**first, "content": _after(first.get("content"), instruction)}, *rest)


def _is_system(message: Mapping[str, Any]) -> bool:
    return message.get("role") in ("system", "developer")


def _after(content: object, text: str) -> object:
    if isinstance(content, list):
        return [*content, {"type": "text", "text": text}]
    return f"{content}\n\n{text}" if content else text


def dialled(call: Call, branches: Sequence[Branch], plausibility: float, method: str) -> Call:
    """Return the call with ``sum_i w_i (l_i - l_0)`` added to what it says, ``l_0`` being its own prompt.

    It adds to a mixture that is there already if its first branch is the call's own prompt, as that of context steering
    is; :class:`ConfigError` names ``method`` where it is not. A branch of weight 0 is left out. Only a mixture that
    goes beyond its sources (a weight below 0) is held to ``plausibility``.
    """
    counted = [branch for branch in branches if branch.weight]
    if not counted:
        return call
    first, *others = call.mix or (Branch(None, 1.0),)
    if first.messages is not None or first.instruction or first.adapters is not None or first.proxy:
        raise ConfigError(
            f"{method!r} adds to the call's own prompt, but a method before it mixes others; leave one of them out"
        )
    total = sum(branch.weight for branch in counted)
    mix = (replace(first, weight=first.weight - total), *others, *counted)
    beyond = any(branch.weight < 0 for branch in mix)
    return replace(call, mix=mix, plausibility=max(call.plausibility, plausibility) if beyond else call.plausibility)
