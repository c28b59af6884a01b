"""What runs inside vLLM: a LoRA resolver that fetches adapters from the ``vllm`` backend.

vLLM asks it for a model name that it does not know. It asks every endpoint whose address lies in the folder named by
``IDIOLECT_VLLM_ACCESS`` and writes what it gets where vLLM's workers can read it. A name that no endpoint answers any
more is one that was dropped: its files are removed at once.

Only the standard library is needed, and vLLM itself inside vLLM: install with ``pip install --no-deps idiolect`` there.
"""

from __future__ import annotations

import asyncio
import atexit
import hashlib
import http.client
import json
import logging
import os
import re
import shutil
import tempfile
import threading
from pathlib import Path
from typing import IO, Any

log = logging.getLogger("idiolect.vllm")

ACCESS = "IDIOLECT_VLLM_ACCESS"
NAME = re.compile(r"u-[0-9a-f]{32}")
"""What adapters are called; nothing else is looked for."""
SECONDS = 60.0
"""An endpoint that is silent for longer is not waited for."""
_PREFIX = "idiolect-vllm-"
_METADATA = "adapter_config"


def register() -> None:
    """Register the resolver with vLLM; does nothing where ``IDIOLECT_VLLM_ACCESS`` is not set."""
    folder = os.environ.get(ACCESS)
    if not folder:
        return
    from vllm.lora.request import LoRARequest
    from vllm.lora.resolver import LoRAResolver, LoRAResolverRegistry

    fetcher = Fetcher(Path(folder).expanduser())

    class Resolver(LoRAResolver):  # type: ignore[misc]
        """Asks the ``vllm`` backend."""

        async def resolve_lora(self, base_model_name: str, lora_name: str) -> Any:
            """Return the adapter of a name, or ``None``."""
            path = await asyncio.to_thread(fetcher.fetch, lora_name, base_model_name)
            return None if path is None else LoRARequest(lora_name, fetcher.number(lora_name), str(path))

    LoRAResolverRegistry.register_resolver("idiolect", Resolver())


class Fetcher:
    """Brings adapters from the endpoints in ``access`` into a private folder."""

    def __init__(self, access: Path) -> None:
        self._access, self._files = access, Files()
        self._numbers: dict[int, str] = {}

    def fetch(self, name: str, base_name: str) -> Path | None:
        """Return the folder of an adapter, fetched anew, or ``None`` where nobody answers for the name."""
        if NAME.fullmatch(name) is None:
            return None
        sure = True
        for file in sorted(self._access.glob("*.json")):
            try:
                status, blob = _ask(json.loads(file.read_text()), name)
            except ConnectionRefusedError:
                file.unlink(missing_ok=True)  # left behind by a process that was killed
                continue
            except (OSError, ValueError, LookupError, http.client.HTTPException) as error:
                log.warning("an endpoint for adapters did not answer: %s", type(error).__name__)
                sure = False
                continue
            if status == 200:
                return self._files.write(name, blob, base_name)
            sure = sure and status == 404
        if sure:
            self._files.remove(name)
        return None

    def number(self, name: str) -> int:
        """Return a name's number, 1 to 2^31 - 1: from its hash, the next free one where another name has it already.

        A number never goes to a second name: vLLM's workers know adapters by number alone.
        """
        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]) & 0x7FFFFFFF or 1
        while self._numbers.setdefault(number, name) != name:
            number = number % 0x7FFFFFFF + 1
        return number


def remove_elsewhere(folder: Path) -> None:
    """Remove an adapter's files where another process of ours wrote them; any other folder stays as it is."""
    if NAME.fullmatch(folder.name) and folder.parent.name.startswith(_PREFIX):
        shutil.rmtree(folder, ignore_errors=True)


class Files:
    """A private folder (mode 0700, in memory where the system has ``/dev/shm``) that goes with the process.

    Folders that a killed process left behind are removed when the next one is made.
    """

    def __init__(self) -> None:
        self._root: Path | None = None
        self._lock: IO[str] | None = None
        self._making = threading.Lock()

    def write(self, name: str, blob: bytes, base_name: str) -> Path:
        """Write an adapter as a PEFT folder, its configuration taken from the weights' metadata, and return it."""
        if NAME.fullmatch(name) is None:
            raise ValueError(f"{name!r} is no name of an adapter")
        config = {**config_in(blob), "base_model_name_or_path": base_name}
        folder = self._folder() / name
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / "adapter_model.safetensors").write_bytes(blob)
        (folder / "adapter_config.json").write_text(json.dumps(config))
        return folder

    def remove(self, name: str) -> None:
        """Remove an adapter's files, if there are any."""
        if self._root is not None and NAME.fullmatch(name):
            shutil.rmtree(self._root / name, ignore_errors=True)

    def close(self) -> None:
        """Remove the folder; a later write makes a new one."""
        root, self._root = self._root, None
        if root is not None:
            shutil.rmtree(root, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()

    def _folder(self) -> Path:
        with self._making:
            if self._root is None:
                parent = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path(tempfile.gettempdir())
                _sweep(parent)
                root = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
                self._lock = _locked(root / "new", "w")
                os.rename(root / "new", root / "lock")
                self._root = root
                atexit.register(self.close)
            return self._root


def config_in(blob: bytes) -> dict[str, Any]:
    """Return the PEFT configuration in the metadata of safetensors; ``ValueError`` where there is none."""
    try:
        head = json.loads(blob[8 : 8 + int.from_bytes(blob[:8], "little")])
        return dict(json.loads(head["__metadata__"][_METADATA]))
    except (LookupError, TypeError) as error:
        raise ValueError("these weights carry no adapter configuration") from error


def _ask(access: dict[str, Any], name: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", int(access["port"]), timeout=SECONDS)
    try:
        connection.request("GET", f"/adapters/{name}", headers={"Authorization": f"Bearer {access['token']}"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _sweep(parent: Path) -> None:
    for left in parent.glob(f"{_PREFIX}*"):
        lock = _locked(left / "lock", "r+")
        if lock is not None:
            shutil.rmtree(left, ignore_errors=True)
            lock.close()


def _locked(path: Path, mode: str) -> IO[str] | None:
    """Return an open file that is locked until it is closed, ``None`` where that cannot be."""
    import fcntl  # not on Windows, where there is no vLLM

    try:
        file = path.open(mode)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return None
    return file
