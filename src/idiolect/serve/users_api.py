"""The API over each user's data: records, search, profile, memories, export and erasure."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator, Mapping
from typing import IO, Any
from urllib.parse import quote, unquote_to_bytes

import orjson
from starlette.requests import Request
from starlette.responses import Response

from idiolect.config import spec_of
from idiolect.errors import InputError, NotFound
from idiolect.prompting.profile import read_claims
from idiolect.serve import bodies
from idiolect.serve.bodies import reply
from idiolect.serve.relay import Relay
from idiolect.serve.state import State, state_of
from idiolect.serve.wishes import check_user
from idiolect.sources.base import parse_json, seconds
from idiolect.sources.jsonl import parse_record
from idiolect.store.export import export as write_export
from idiolect.store.view import StoredUser
from idiolect.types import KINDS, Artifact, Hit, Record

PAGE = 100
MAX_PAGE = 1000
MAX_HITS = 1000
_BLOCK = 1 << 16


def user_in(request: Request) -> str:
    """Return the user of the path, once the caller is known to be allowed to reach it."""
    user = segment(request, "user")
    request.scope["caller"].check(user)
    return check_user(user)


def check_known(state: State, user: str) -> None:
    """Raise :class:`NotFound` for somebody of whom there is nothing."""
    if state.idiolect.store.key(user) is None:
        raise NotFound(f"no user {user!r}")


def segment(request: Request, name: str) -> str:
    """Return a decoded segment of the path; :class:`InputError` where it is not UTF-8."""
    try:
        return unquote_to_bytes(request.path_params[name]).decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"the {name} in the path is not UTF-8") from None


def number(request: Request, name: str, default: int, most: int) -> int:
    """Return a whole number of the query, from 0 on and at most ``most``."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit():
        raise InputError(f"{name} must be a whole number, got {text!r:.40}")
    return min(int(text[:12]), most)


def moment(request: Request, name: str) -> float | None:
    """Return a time of the query in seconds since the epoch, or ``None`` where none is given."""
    text = request.query_params.get(name)
    value = seconds(text)
    if text and value is None:
        raise InputError(f"{name} must be seconds since the epoch or ISO 8601 text, got {text!r:.40}")
    return value


def record_json(record: Record) -> dict[str, Any]:
    """Return a record as an object."""
    return {
        "id": record.id, "kind": record.kind, "time": record.time, "input": record.input, "output": record.output,
        "source": record.source, "meta": dict(record.meta),
    }  # fmt: skip


# -- users -------------------------------------------------------------------------------------------------------------


async def users(request: Request) -> Response:
    """GET /v1/users: administrators only."""
    request.scope["caller"].check_admin()
    state = state_of(request)
    limit = number(request, "limit", PAGE, MAX_PAGE)
    after = request.query_params.get("after", "")
    found = await state.engine.run(state.idiolect.store.users, after, limit)
    data = [{"id": u.id, "records": u.records, "artifacts": u.artifacts, "groups": list(u.groups)} for u in found]
    return reply({"object": "list", "data": data, "next": found[-1].id if len(found) == limit and found else None})


async def groups(request: Request) -> Response:
    """GET /v1/users/{user}/groups: the groups a person belongs to, the narrowest first."""
    state, user = state_of(request), user_in(request)
    return reply(await state.engine.run(_groups, state, user))


async def put_groups(request: Request) -> Response:
    """PUT /v1/users/{user}/groups with ``{"groups": ["nurses", "staff"]}``: administrators only."""
    request.scope["caller"].check_admin()
    state, user = state_of(request), user_in(request)
    body: Mapping[str, Any] = bodies.parse_object(await bodies.read(request, state.max_body))
    wanted = body.get("groups")
    if not isinstance(wanted, list) or not all(isinstance(name, str) for name in wanted):
        raise InputError('the body must be {"groups": ["the narrowest", ...]}')
    await state.engine.run(_set_groups, state, user, wanted)
    return reply(await state.engine.run(_groups, state, user))


def _groups(state: State, user: str) -> dict[str, Any]:
    check_known(state, user)
    return {"user": user, "groups": list(StoredUser(state.idiolect.store, user).groups)}


def _set_groups(state: State, user: str, wanted: list[str]) -> None:
    check_known(state, user)
    state.idiolect.store.set_groups(user, wanted)


async def erase(request: Request) -> Response:
    """DELETE /v1/users/{user}: the receipt of the erasure."""
    state, user = state_of(request), user_in(request)
    receipt = await state.engine.run(state.idiolect.erase, user)
    return reply(receipt.as_json())


async def export(request: Request) -> Response:
    """GET /v1/users/{user}/export: everything about a person, as a zip of readable files."""
    state, user = state_of(request), user_in(request)
    # An unnamed file: nothing of it is left behind, whatever happens to this process.
    file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed when it is sent
    try:
        await state.engine.run(write_export, state.idiolect.store, user, file, now=state.idiolect.clock())
        size = file.tell()
    except BaseException:
        file.close()
        raise
    name = f"idiolect-{quote(user, safe='')}.zip"
    headers = {
        "content-type": "application/zip",
        "content-length": str(size),
        "content-disposition": f"attachment; filename*=UTF-8''{name}",
    }
    return Relay(200, list(headers.items()), _blocks(file), streamed=False)


async def _blocks(file: IO[bytes]) -> AsyncGenerator[bytes]:
    with file:
        file.seek(0)
        while block := file.read(_BLOCK):
            yield block


# -- records -----------------------------------------------------------------------------------------------------------


async def add_records(request: Request) -> Response:
    """POST /v1/users/{user}/records: one record, a list of them, or JSON Lines; all or none are kept."""
    state, user = state_of(request), user_in(request)
    raw = await bodies.read(request, state.max_body)
    lines = "json" in request.headers.get("content-type", "") and "application/json" not in request.headers.get(
        "content-type", ""
    )
    records = await state.engine.run(_parse_records, raw, user, state.idiolect.clock(), lines)
    added = await state.engine.run(state.idiolect.store.add, records)
    return reply({"added": added.added, "known": added.known, "ids": [record.id for record in records]})


def _parse_records(raw: bytes, user: str, now: float, lines: bool) -> list[Record]:
    if lines:
        numbered = [(f"line {n}", line) for n, line in enumerate(raw.split(b"\n"), 1) if line.strip()]
        rows = [(where, _parse_line(line, where)) for where, line in numbered]
    else:
        value = bodies.parse(raw)
        value = value["records"] if isinstance(value, dict) and "records" in value else value
        rows = [(f"record {n}", row) for n, row in enumerate(value if isinstance(value, list) else [value])]
    return [_parse_record(row, user, now, where) for where, row in rows]


def _parse_line(line: bytes, where: str) -> Any:
    try:
        return parse_json(line)
    except ValueError as error:
        raise InputError(f"{where}: {error}; nothing was kept") from None


def _parse_record(row: Any, user: str, now: float, where: str) -> Record:
    if isinstance(row, dict):
        row = {"source": "api", **row}
    try:
        record = parse_record(row, user, now)
        orjson.dumps(record.meta)
    except (ValueError, TypeError) as error:
        raise InputError(f"{where}: {error}; nothing was kept") from None
    return record


async def records(request: Request) -> Response:
    """GET /v1/users/{user}/records: a page in the order in which they came."""
    state, user = state_of(request), user_in(request)
    after, limit = number(request, "after", 0, 1 << 31), number(request, "limit", PAGE, MAX_PAGE)
    found, following = await state.engine.run(state.idiolect.store.page, user, after, limit)
    return reply({"object": "list", "data": [record_json(record) for record in found], "next": following})


async def record(request: Request) -> Response:
    """GET /v1/users/{user}/records/{record}."""
    state, user = state_of(request), user_in(request)
    return reply(record_json(await state.engine.run(state.idiolect.store.find, user, segment(request, "record"))))


async def delete_record(request: Request) -> Response:
    """DELETE /v1/users/{user}/records/{record}: names the artifacts that fell with it."""
    state, user, wanted = state_of(request), user_in(request), segment(request, "record")
    return reply(await state.engine.run(_delete, state, user, wanted))


def _delete(state: State, user: str, wanted: str) -> dict[str, Any]:
    count, artifacts = state.idiolect.store.delete(user, [wanted])
    if not count:
        raise NotFound(f"this user has no record {wanted!r}")
    return {"id": wanted, "deleted": True, "artifacts": artifacts}


async def search(request: Request) -> Response:
    """GET /v1/users/{user}/search?q=&k=&now=&kinds=: the best records in falling score, with the parts of the score."""
    state, user = state_of(request), user_in(request)
    query, k = request.query_params.get("q", ""), number(request, "k", 10, MAX_HITS)
    kinds = [kind for kind in request.query_params.get("kinds", "").split(",") if kind]
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(f"unknown kind {kind!r:.40}; one of {', '.join(KINDS)}")
    now = moment(request, "now")
    view = StoredUser(state.idiolect.store, user, float("inf") if now is None else now)
    hits: list[Hit] = await state.engine.run(view.search, query, k, kinds=kinds)
    data = [{"score": hit.score, "parts": dict(hit.parts), "record": record_json(hit.record)} for hit in hits]
    return reply({"object": "list", "data": data})


# -- profile -----------------------------------------------------------------------------------------------------------


async def profile(request: Request) -> Response:
    """GET /v1/users/{user}/profile."""
    state, user = state_of(request), user_in(request)
    return reply(await state.engine.run(_profile, state, user))


async def refresh_profile(request: Request) -> Response:
    """POST /v1/users/{user}/profile: write it anew from the records."""
    state, user = state_of(request), user_in(request)
    return reply(await state.engine.run(_refresh, state, user))


async def delete_profile(request: Request) -> Response:
    """DELETE /v1/users/{user}/profile, all versions; it comes back with the next refresh."""
    state, user = state_of(request), user_in(request)
    return reply(await state.engine.run(_delete_profile, state, user))


def _profiles(state: State, user: str) -> list[Artifact]:
    return [artifact for artifact in state.idiolect.store.artifacts(user) if artifact.kind == "profile"]


def _profile(state: State, user: str) -> dict[str, Any]:
    found = _profiles(state, user)
    if not found:
        raise NotFound("this user has no profile yet; POST to this address writes one from the records")
    newest, payload = found[0], orjson.loads(found[0].payload)
    return {
        "id": newest.id, "user": user, "version": payload["version"], "task": payload["task"], "time": newest.time,
        "claims": [{"text": c.text, "record_ids": list(c.record_ids)} for c in read_claims(newest)],
    }  # fmt: skip


def _refresh(state: State, user: str) -> dict[str, Any]:
    check_known(state, user)
    state.idiolect.fit(spec_of(state.idiolect.settings.methods, "profile"), [user])
    return _profile(state, user)


def _delete_profile(state: State, user: str) -> dict[str, Any]:
    ids = [artifact.id for artifact in _profiles(state, user)]
    if not ids:
        raise NotFound("this user has no profile")
    state.idiolect.store.delete_artifacts(user, ids)
    return {"deleted": True, "artifacts": ids}
