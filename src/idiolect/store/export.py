"""A person's whole data as one zip of readable files, and back again to the same state."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, Any

import orjson

from idiolect.errors import NotFound, SourceError
from idiolect.store.finishing import Finished, keep_finished
from idiolect.store.states import about_memory, bring_back, parse, plain, states_of
from idiolect.store.store import Added, Store
from idiolect.training.peft_format import config_in
from idiolect.types import Artifact, Body, Record

FORMAT = "idiolect-export-1"
_MAX_LINE = 64 << 20

_README = """This is everything that was kept about {user}, as of {time}.

records.jsonl    {records} records: what was written, said, chose or was told, one JSON object a line
artifacts.jsonl  {artifacts} things learnt from them (profiles and the like), with the ids of the records they rest on
traces.jsonl     {traces} answers, each with what shaped it
states.jsonl     {states} records to which something happened: used, pinned, closed from when on and by what
{weights}manifest.json    counts and SHA-256 of each file; what is always in mind, never brought up and never to be kept

To bring it back: idiolect import {name}
"""
_README_WEIGHTS = """\
adapters/        {count} changes of a model's weights, in PEFT's form; a folder's name is the id in artifacts.jsonl
"""
_WEIGHTS, _CONFIG, _OTHER = "adapter_model.safetensors", "adapter_config.json", "body.bin"


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back from an export."""

    user: str
    records: Added
    artifacts: int
    traces: int
    states: int = 0


def export(store: Store, user_id: str, target: Path | IO[bytes], *, now: float) -> dict[str, Any]:
    """Write a user's zip to ``target``; return its manifest. Raises :class:`NotFound` for an unknown user.

    What was learnt with other people's records stays behind: it would name them, and no withdrawal could reach it.
    Weights are files of their own, adapters as PEFT writes them.
    """
    key = store.key(user_id)
    if key is None:
        raise NotFound(f"no user {user_id!r}; see: idiolect users")
    with store.rows.read() as tx:
        row = tx.user(key.uid)
        about = {} if row is None else store.about(key, row)
    manifest: dict[str, Any] = {
        "format": FORMAT, "user": user_id, "groups": about.get("groups", []),
        "time": datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds"),
        "memory": about_memory(store, user_id), "files": {},
    }  # fmt: skip
    learnt = _own(store, user_id)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        bodies = {a.id: _write_body(archive, a.id, a.body, manifest["files"]) for a in learnt if a.body is not None}
        for name, lines in (
            ("records.jsonl", (_record_line(record) for record in store.all_records(user_id))),
            ("artifacts.jsonl", (_artifact_line(a, bodies.get(a.id, "")) for a in reversed(learnt))),
            ("traces.jsonl", map(orjson.dumps, store.traces(user_id))),
            ("states.jsonl", _state_lines(store, user_id)),
        ):
            manifest["files"][name] = _write(archive, name, lines)
        archive.writestr("README.txt", _readme(manifest, target.name if isinstance(target, Path) else "FILE.zip"))
        archive.writestr("manifest.json", orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
    return manifest


def _readme(manifest: dict[str, Any], name: str) -> str:
    counts = {file.split(".")[0]: entry["lines"] for file, entry in manifest["files"].items() if "lines" in entry}
    bodies = sum(file.endswith((_WEIGHTS, _OTHER)) for file in manifest["files"])
    said = _README_WEIGHTS.format(count=bodies) if bodies else ""
    return _README.format(user=manifest["user"], time=manifest["time"], name=name, weights=said, **counts)


def _own(store: Store, user_id: str) -> list[Artifact]:
    return [artifact for artifact in store.artifacts(user_id) if not set(artifact.people) - {user_id}]


def _write(archive: zipfile.ZipFile, name: str, lines: Iterator[bytes]) -> dict[str, Any]:
    digest, count = hashlib.sha256(), 0
    with archive.open(name, "w") as file:
        for line in lines:
            file.write(line + b"\n")
            digest.update(line + b"\n")
            count += 1
    return {"lines": count, "sha256": digest.hexdigest()}


def _record_line(record: Record) -> bytes:
    return orjson.dumps(asdict(record))


def _write_body(archive: zipfile.ZipFile, artifact_id: str, body: Body, files: dict[str, Any]) -> str:
    """Write what an artifact's body holds as a file for other programs to read, and return the file's name."""
    data = body.read()
    config = config_in(data)
    name = f"adapters/{artifact_id}/{_OTHER if config is None else _WEIGHTS}"
    wanted = {name: data}
    if config is not None:
        wanted[f"adapters/{artifact_id}/{_CONFIG}"] = orjson.dumps(config, option=orjson.OPT_INDENT_2)
    for file, content in wanted.items():
        archive.writestr(file, content, zipfile.ZIP_STORED)  # weights do not get smaller
        files[file] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return name


def _artifact_line(artifact: Artifact, file: str) -> bytes:
    head = asdict(replace(artifact, body=None))
    del head["body"]
    if artifact.body is not None:
        head["body"] = {"file": file, "size": artifact.body.size, "digest": artifact.body.digest}
    payload = head.pop("payload")
    if _is_canonical_json(payload):
        head["payload"] = orjson.Fragment(payload)  # readable, and the same bytes when it is read back
    else:
        head["payload_base64"] = base64.b64encode(payload).decode()
    return orjson.dumps(head)


def _state_lines(store: Store, user_id: str) -> Iterator[bytes]:
    found = states_of(store, user_id, [record.id for record in store.all_records(user_id)])
    return (orjson.dumps({"record": rid, **plain(state)}) for rid, state in found.items())


def _is_canonical_json(payload: bytes) -> bool:
    try:
        return orjson.dumps(orjson.loads(payload)) == payload
    except orjson.JSONDecodeError:
        return False


def is_export(path: Path) -> bool:
    """Whether a file is one of our exports."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        if not {"manifest.json", "records.jsonl"} <= names or archive.getinfo("manifest.json").file_size > 1 << 20:
            return False
        try:
            return bool(orjson.loads(archive.read("manifest.json")).get("format") == FORMAT)
        except (orjson.JSONDecodeError, AttributeError):
            return False


def restore(
    store: Store,
    path: Path,
    *,
    user: str | None = None,
    embed: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Restored:
    """Read an export back; what is there already stays as it is. ``user`` restores under another id.

    Every file is checked against the manifest before anything is written: a damaged export raises
    :class:`SourceError` and changes nothing.
    """
    with zipfile.ZipFile(path) as archive:
        manifest = orjson.loads(archive.read("manifest.json"))
        _verify(archive, manifest, path)
        name = user or str(manifest["user"])
        total = manifest["files"]["records.jsonl"]["lines"]
        records = Added()
        batch: list[Record] = []
        for done, line in enumerate(_lines(archive, "records.jsonl"), 1):
            batch.append(Record(**{**line, "user_id": name}))
            if len(batch) == 1000 or done == total:
                records += store.add(batch, embed=embed)
                batch = []
                if progress is not None:
                    progress(done, total)
        artifacts = store.put_artifacts(_artifact(line, name, archive) for line in _lines(archive, "artifacts.jsonl"))
        known = {trace["id"] for trace in store.traces(name)}
        traces = [trace for trace in _lines(archive, "traces.jsonl") if trace["id"] not in known]
        finished = [Finished(name, 0, trace["id"], orjson.dumps({**trace, "user": name})) for trace in traces]
        if finished:
            keep_finished(store, finished, now=0.0)
        if manifest["groups"]:
            store.set_groups(name, manifest["groups"])
        states = _restore_states(store, name, archive, manifest)
    return Restored(name, records, artifacts, len(traces), states)


def _restore_states(store: Store, user_id: str, archive: zipfile.ZipFile, manifest: dict[str, Any]) -> int:
    """Bring back what happened to records; exports of before there were states have none."""
    about = manifest.get("memory", {})
    lines = _lines(archive, "states.jsonl") if "states.jsonl" in manifest["files"] else iter(())
    states = {line.pop("record"): parse(line) for line in lines}
    return bring_back(store, user_id, states, about) if states or about else 0


def _artifact(line: dict[str, Any], user: str, archive: zipfile.ZipFile) -> Artifact:
    if "payload_base64" in line:
        payload = base64.b64decode(line.pop("payload_base64"))
    else:
        payload = orjson.dumps(line.pop("payload"))
    line["record_ids"], line["people"] = tuple(line["record_ids"]), tuple(line.get("people", ()))
    about = line.pop("body", None)
    body = None if about is None else Body(about["digest"], about["size"], partial(archive.read, about["file"]))
    return Artifact(**{**line, "user_id": user}, payload=payload, body=body)


def _verify(archive: zipfile.ZipFile, manifest: dict[str, Any], path: Path) -> None:
    for name, entry in manifest["files"].items():
        digest = hashlib.sha256()
        try:
            with archive.open(name) as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        except (zipfile.BadZipFile, KeyError) as error:
            raise SourceError(f"{path}: {name} is damaged or missing ({error}); nothing was imported") from error
        if digest.hexdigest() != entry["sha256"]:
            raise SourceError(f"{path}: {name} does not match the manifest; nothing was imported. Export it again.")
    for line in _lines(archive, "artifacts.jsonl"):
        about = line.get("body")
        if about and manifest["files"].get(about["file"], {}).get("bytes") != about["size"]:
            raise SourceError(
                f"{path}: the weights of artifact {line['id']} are not in the manifest; nothing was imported"
            )


def _lines(archive: zipfile.ZipFile, name: str) -> Iterator[dict[str, Any]]:
    with archive.open(name) as file:
        while line := file.readline(_MAX_LINE):
            yield orjson.loads(line)
