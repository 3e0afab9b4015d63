"""Recorded exchanges with vendors whose prices are known, and what two programs make of their usage."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from typing import Any

import genai_prices
from genai_prices import data_snapshot

from corpus import Exchange, exchanges, run
from planar.catalog import cost_of
from planar.catalog._prices import VENDORS
from planar.catalog._snapshot import shipped
from planar.providers._vendor import _HOSTS
from planar.types import ResponseInfo, Usage
from planar.wire import anthropic_messages, gemini, openai_chat, openai_responses
from planar.wire.dialects import DIALECTS, OPENAI

FLAVOURS = {
    "openai.chat": "chat",
    "openai.responses": "responses",
    "anthropic.messages": "default",
    "gemini": "default",
    "openai_compatible": "chat",
}
"""What `genai-prices` calls the form of an answer."""
DEFAULT_FLAVOUR = {"groq", "mistral"}
NOON = datetime.fromisoformat(f"{shipped().day}T12:00:00+00:00").astimezone(UTC)


@dataclass(frozen=True)
class Priced:
    """One recorded answer."""

    case: Exchange
    vendor: str

    @cached_property
    def response(self) -> ResponseInfo:
        """What our decoder makes of it."""
        response, recorded = ResponseInfo(), self.case.recorded
        folder, upstream = self.case.path.parent.name, recorded["upstream"]
        if folder in ("openai.chat", "openai_compatible"):
            form = openai_chat.ChatDecoder if recorded["stream"] else openai_chat.WholeDecoder
            decoder: Any = form(response, upstream, DIALECTS.get(upstream, OPENAI))
        else:
            wires: dict[str, Any] = {"openai.responses": openai_responses, "anthropic.messages": anthropic_messages}
            wire = wires.get(folder, gemini)
            decoder = (wire.ChatDecoder if recorded["stream"] else wire.WholeDecoder)(response, upstream)
        response.usage = run(decoder, [self.case.body], response).usage
        return response

    @property
    def usage(self) -> Usage:
        assert self.response.usage is not None
        return self.response.usage

    @property
    def model(self) -> str:
        return self.response.model or self.case.recorded["model"]

    @property
    def ours(self) -> int | None:
        """Nano-USD by our codec and our snapshot."""
        info = shipped().find(self.vendor, self.model)
        if info is None or info.price is None:
            return None
        return cost_of(self.usage, info.price, self.response.service_tier)

    @property
    def theirs(self) -> int | None:
        """Nano-USD by what the vendor's SDK says of the usage, and `genai-prices`; `None` where it has no price."""
        folder = self.case.path.parent.name
        provider = VENDORS[self.vendor]
        flavour = "default" if self.vendor in DEFAULT_FLAVOUR else FLAVOURS[folder]
        # Two vendors answer in OpenAI's form, which the package does not say of them.
        reader = "openai" if self.vendor in ("deepseek", "together") else provider
        answer = {"usageMetadata" if folder == "gemini" else "usage": self.case.said["usage"]}
        try:
            usage = genai_prices.extract_usage(answer, provider_id=reader, api_flavor=flavour).usage
            tier = {"service_tier": self.response.service_tier or "default"}
            price = data_snapshot.get_snapshot().calc(usage, self.model, provider, None, NOON, tier)
        except LookupError:
            return None
        return math.ceil(price.total_price * Decimal(10**9))


def priced() -> list[Priced]:
    """The answers of vendors in the snapshot, asked at their own address or at one that was not recorded."""
    found: list[Priced] = []
    for folder in FLAVOURS:
        for case in exchanges(folder, lambda case: case.outcome == "ok" and bool(case.said.get("usage"))):
            vendor, request = case.recorded["upstream"], case.recorded["request"]
            host = request["host"] if request else None
            if vendor in VENDORS and case.endpoint != "embeddings" and (host is None or _HOSTS.get(host) == vendor):
                found.append(Priced(case, vendor))
    return found
