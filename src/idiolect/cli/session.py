"""Opening what a command works on, and closing it whatever happens."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from getpass import getpass
from typing import TYPE_CHECKING, Any

from idiolect import config
from idiolect.cli.output import note
from idiolect.errors import IdiolectError, InputError, NotFound

if TYPE_CHECKING:
    from idiolect.config import Settings
    from idiolect.pipeline import Idiolect
    from idiolect.store.store import Store


def passphrase(prompt: str) -> str:
    """Ask for the passphrase of the master key, unseen; where stdin is no terminal its first line is taken."""
    answer = getpass(prompt) if sys.stdin.isatty() else ask(prompt)
    if not answer:
        raise InputError("no passphrase was given, and the store cannot be opened without it")
    return answer


def ask(prompt: str) -> str:
    """Ask on stderr and read one line; stdout stays clean."""
    sys.stderr.write(prompt)
    sys.stderr.flush()
    return sys.stdin.readline().rstrip("\r\n")


@contextmanager
def opened_store(*, embed: bool = False, deletes: bool = False) -> Iterator[Store]:
    """Open the store; ``embed`` where the command searches or adds, because it loads the embedding model.

    ``deletes`` where it may delete weights that a program apart has loaded: that one is told at the end.
    """
    from idiolect.opening import open_store

    settings, gone = config.load(), list[str]()
    store = open_store(settings, passphrase, embed=embed)
    if deletes:
        store.dropped = gone.extend
    try:
        yield store
    finally:
        store.close()
        if gone:
            _let_go(settings, gone)


def _let_go(settings: Settings, artifact_ids: Sequence[str]) -> None:
    """Have the program that the backend hands adapters to let go of some; what is deleted stays so where it does not.

    A server that runs beside this command cannot tell it: it does not learn of the deletion.
    """
    from idiolect.letting_go import STILL_THERE
    from idiolect.opening import keeper_of

    try:
        keeper = keeper_of(settings, retries=0)
        if keeper is not None:
            try:
                keeper.forget(artifact_ids)
            finally:
                keeper.close()
    except IdiolectError as error:
        note(f"It is deleted here, but {settings.backend} could not be told: {error}. {STILL_THERE}")


@contextmanager
def opened_app(**overrides: Any) -> Iterator[Idiolect]:
    """Open store and backend; the model is loaded on first use. Options that were not given (``None``) do not count."""
    from idiolect.pipeline import Idiolect

    given = {name: value for name, value in overrides.items() if value is not None}
    with Idiolect.build(config.load(overrides=given), passphrase) as app:
        yield app


def need_user(store: Store, user: str) -> None:
    """Raise :class:`NotFound` for an unknown user, naming the nearest one."""
    if store.key(user) is not None:
        return
    near = get_close_matches(user, [info.id for info in store.users()], n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise NotFound(f"no user {user!r}.{hint} See: idiolect users")
