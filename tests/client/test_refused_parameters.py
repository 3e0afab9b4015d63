"""What a model is known to answer with an error is not sent to it."""

from __future__ import annotations

from typing import Any

import pytest

import planar
from planar.events import Notice
from planar.testing import ScriptedProvider, reply
from planar.types import ModelInfo, Price

pytestmark = pytest.mark.anyio

KNOWN = ModelInfo(id="default", price=Price.FREE, refuses=frozenset({"temperature", "stop", "seed"}))


def client_of(*providers: ScriptedProvider) -> planar.Planar:
    return planar.Planar(
        providers=providers,
        models={"any": [f"{provider.name}:default" for provider in providers]},
        catalog=planar.Catalog(models={"picky:default": KNOWN}),
    )


async def test_it_is_left_out_and_told() -> None:
    picky = ScriptedProvider(reply("Ebro"), name="picky")
    options: dict[str, Any] = {"temperature": 0.5, "top_p": 0.9, "stop": "\n"}

    stream = client_of(picky).stream("Rivers?", model="any", **options)
    events = [event async for event in stream.events()]

    sent = picky.received[0].request
    assert (sent.temperature, sent.top_p, sent.stop) == (None, 0.9, ())
    told = [event.data["field"] for event in events if isinstance(event, Notice) and event.code == "parameter_dropped"]
    assert told == ["stop", "temperature"]


async def test_it_is_sent_to_those_who_take_it() -> None:
    picky, easy = ScriptedProvider(reply("Ebro"), name="picky"), ScriptedProvider(reply("Ebro"), name="easy")

    completion = await client_of(picky, easy).infer("Rivers?", model="any", temperature=0.5, strict=True)

    assert (completion.provider, easy.received[0].request.temperature) == ("easy", 0.5)
    assert completion.route.verdicts[0].detail == "it refuses temperature"


async def test_a_strict_call_that_nobody_takes_is_refused_and_says_why() -> None:
    with pytest.raises(planar.NoRouteError, match="it refuses seed"):
        await client_of(ScriptedProvider(reply("Ebro"), name="picky")).infer(
            "Rivers?", model="any", seed=3, strict=True
        )
