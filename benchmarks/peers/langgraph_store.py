"""LangGraph's stores, which LangMem writes to; run by ``retrieval.py``.

    python langgraph_store.py memory|sqlite FOLDER USERS SECONDS

FOLDER holds the texts and vectors; nothing else is embedded. Single ``put`` calls are timed for SECONDS; what is left
then goes in by ``batch``, which is not timed.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import sys
import tempfile

if not hasattr(sqlite3.Connection, "enable_load_extension"):  # pyenv-built Pythons: SqliteStore cannot open there
    import pysqlite3

    sys.modules["sqlite3"] = pysqlite3

import given
from langgraph.store.base import PutOp

kind, folder, users, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
work = tempfile.mkdtemp(dir=".")
data = given.Given(folder, users)


def embed(texts: list[str]) -> list[list[float]]:
    # SqliteStore embeds the whole JSON value, whatever "fields" says.
    return [data.vector(json.loads(text)["text"] if text.startswith("{") else text) for text in texts]


index = {"dims": data.dim, "embed": embed, "fields": ["text"]}
with contextlib.ExitStack() as stack:
    if kind == "memory":
        from langgraph.store.memory import InMemoryStore

        store = InMemoryStore(index=index)
    else:
        from langgraph.store.sqlite import SqliteStore

        store = stack.enter_context(SqliteStore.from_conn_string(f"{work}/store.db", index=index))
        store.setup()

    def search(user: str, text: str, k: int) -> list[str]:
        return [item.value["text"] for item in store.search(("memories", user), query=text, limit=k)]

    def put(user: str, text: str) -> None:
        store.put(("memories", user), data.key(text), {"text": text})

    adds = data.add(put, seconds)
    for first in range(len(adds), len(data.texts), 1000):
        rows = data.texts[first : first + 1000]
        store.batch([PutOp(("memories", user), data.key(text), {"text": text}) for user, text in rows])
    print(json.dumps(data.report(adds, search, work)))
