"""Two tenants share one model in this process until the small one has spent its budget.

python examples/quickstart.py model.gguf
"""

from __future__ import annotations

import sys
from itertools import cycle

import anyio

import planar


async def ask(client: planar.Planar, question: str, *, tenant: str) -> None:
    print(f"\n{tenant} asks: {question}")
    async with client.stream(question, model="fast", tenant=tenant, max_tokens=64, temperature=0) as stream:
        async for token in stream:
            print(token, end="", flush=True)
        completion = await stream.completion()
    usage, timings = completion.usage, completion.timings
    assert usage is not None
    ttft, speed = timings.ttft or 0, timings.tokens_per_second or 0
    print(f"\n  [{usage.input_tokens} tokens in, {usage.output_tokens} out, {completion.cost_usd:f} USD,", end=" ")
    print(f"first token after {ttft:.2f} s, {speed:.1f} tokens/s]")


async def main(path: str) -> None:
    # A local model costs nothing unless you say so; here it is sold at a dollar per million tokens.
    price = planar.Price.per_million(input=1, output=1)
    quotas = planar.MemoryQuotaStore(
        limits={
            "acme": [planar.Limit.usd("0.05", per="day")],
            "tiny": [planar.Limit.tokens(150, per="day"), planar.Limit.concurrency(1)],
        }
    )
    async with planar.Planar(
        providers=[planar.LlamaCpp(path, name="local", price=price)],
        models={"fast": ["local:default"]},
        quotas=quotas,
    ) as client:
        for question in cycle(["Name three fruits.", "Name three animals.", "Name three colours."]):
            await ask(client, question, tenant="acme/search")
            try:
                await ask(client, question, tenant="tiny")
            except planar.QuotaExceededError as error:
                print(f"  refused: {error}")
                break
        for tenant in ("acme", "tiny"):
            used = await quotas.usage(tenant)
            tokens = used.input_tokens + used.output_tokens
            print(f"\n{tenant}: {used.requests} requests, {tokens} tokens, {used.cost_usd:f} USD", end="")
    print()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/quickstart.py MODEL.gguf")
    anyio.run(main, sys.argv[1])
