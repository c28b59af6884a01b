"""The two ways in which adapters get to vLLM, behind one small interface."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import orjson

from idiolect.backends._http import Client
from idiolect.backends._vllm_door import Door
from idiolect.backends._vllm_resolver import NAME, Files, remove_elsewhere
from idiolect.errors import UpstreamError

Read = Callable[[], bytes]


class Delivery(Protocol):
    """Brings adapters to vLLM and takes them away again."""

    async def bring(self, name: str, read: Read) -> None:
        """See to it that vLLM can serve an adapter under a name; ``read`` returns it in PEFT's format."""

    async def take(self, name: str) -> None:
        """See to it that vLLM has no adapter of a name, nor its files."""

    async def there(self) -> list[str]:
        """Return the adapters that vLLM has under names of our form, whoever brought them."""

    def close(self) -> None:
        """Answer for no adapter any more, and remove what was written."""


class Fetched:
    """vLLM fetches an adapter when it is first asked for it, through our plugin."""

    def __init__(self, client: Client, access: Path) -> None:
        self._client, self._door = client, Door(access)

    async def bring(self, name: str, read: Read) -> None:
        """Answer the plugin for a name."""
        self._door.put(name, read)

    async def take(self, name: str) -> None:
        """Unload it, then ask for it once more: the plugin removes the files of a name that nobody answers for."""
        self._door.drop(name)
        await unload(self._client, name)
        await _post(self._client, "/completions", {"model": name, "prompt": ".", "max_tokens": 1}, (404,))

    async def there(self) -> list[str]:
        """Return the names that vLLM has."""
        return [*await folders_at(self._client)]

    def close(self) -> None:
        """Close the endpoint."""
        self._door.close()


class Loaded:
    """vLLM, on this machine, is told to load an adapter from a folder of ours."""

    def __init__(self, client: Client, model: str) -> None:
        self._client, self._model, self._files = client, model, Files()
        self._elsewhere: dict[str, Path] = {}

    async def bring(self, name: str, read: Read) -> None:
        """Write the folder and have it loaded, in place of one that vLLM has by that name from another folder."""
        path = await asyncio.to_thread(lambda: self._files.write(name, read(), self._model))
        await unload(self._client, name)
        await _post(self._client, "/load_lora_adapter", {"lora_name": name, "lora_path": str(path)}, ())

    async def take(self, name: str) -> None:
        """Unload it and remove the folder, that of another process too."""
        await unload(self._client, name)
        self._files.remove(name)
        remove_elsewhere(self._elsewhere.pop(name, Path()))

    async def there(self) -> list[str]:
        """Return the names that vLLM has."""
        self._elsewhere = await folders_at(self._client)
        return [*self._elsewhere]

    def close(self) -> None:
        """Remove all folders."""
        self._files.close()


async def unload(client: Client, name: str) -> None:
    """Have vLLM forget a name; one that it does not have (404) is as good."""
    await _post(client, "/unload_lora_adapter", {"lora_name": name}, (404,))


async def folders_at(client: Client) -> dict[str, Path]:
    """Return the adapters that vLLM has under names of our form, each with the folder that it was loaded from.

    Raises :class:`UpstreamError` where vLLM does not say.
    """
    response = await client.open("GET", "/models", b"", [])
    async with response:
        if response.status != 200:
            raise UpstreamError(f"vLLM answered {response.status} when asked which adapters it has", response.status)
        raw = await response.read()
    try:
        cards = orjson.loads(raw)["data"]
        return {card["id"]: Path(card.get("root") or "") for card in cards if NAME.fullmatch(card["id"])}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UpstreamError("what answers in vLLM's place names no models; see 'base_url'", 502) from error


async def _post(client: Client, path: str, payload: dict[str, Any], also_fine: tuple[int, ...]) -> None:
    try:
        await client.post(path, payload)
    except UpstreamError as error:
        if error.status not in also_fine:
            raise
