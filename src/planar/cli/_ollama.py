"""What an Ollama server does beside inference, through Ollama's own client (extra `ollama`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from planar.errors import MissingExtraError, ModelNotFoundError, ProviderConnectionError, ProviderServerError

try:
    import ollama
except ModuleNotFoundError as missing:
    raise MissingExtraError("ollama", extra="ollama") from missing


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a download is. `total` and `completed` are bytes of one layer, where the server says."""

    status: str
    layer: str | None
    completed: int
    total: int | None


class OllamaModels:
    """The models of one server: fetch, describe, remove.

    Args:
        host: Where it is; `None` for `http://127.0.0.1:11434`.
    """

    def __init__(self, host: str | None = None) -> None:
        self._host = host
        # No environment: proxies are the caller's to give, and the address was read by whoever calls.
        self._client = ollama.AsyncClient(host=host or "http://127.0.0.1:11434", trust_env=False)

    async def pull(self, model: str) -> AsyncIterator[Progress]:
        """Download a model, and say how far it is.

        Raises:
            ModelNotFoundError: The server's library has no such model.
            ProviderConnectionError: No server answers.
        """
        with self._translated(model):
            async for step in await self._client.pull(model, stream=True):
                yield Progress(step.status or "", step.digest, step.completed or 0, step.total)

    async def show(self, model: str) -> Mapping[str, Any]:
        """What the server knows of a model: its family, size, context window, capabilities, template."""
        with self._translated(model):
            found = await self._client.show(model)
        return found.model_dump(mode="json", exclude_none=True)

    async def delete(self, model: str) -> None:
        """Remove a model from the server's disk."""
        with self._translated(model):
            await self._client.delete(model)

    @contextmanager
    def _translated(self, model: str) -> Generator[None]:
        try:
            yield
        except ollama.ResponseError as error:
            kind = ModelNotFoundError if error.status_code == 404 else ProviderServerError
            raise kind(f"ollama: {model}: {error.error}", provider="ollama", status=error.status_code) from error
        except ConnectionError as error:
            where = self._host or "http://127.0.0.1:11434"
            raise ProviderConnectionError(
                f"no Ollama server answers at {where}: start it with 'ollama serve', or set OLLAMA_HOST",
                provider="ollama",
            ) from error
