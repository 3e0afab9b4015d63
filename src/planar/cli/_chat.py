"""`planar chat`: one answer, or a conversation."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from planar.client import CallOptions, Planar
from planar.errors import PlanarError
from planar.types import Completion, Message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_EPILOG = """\
Without --gguf the providers are those that the environment names: OPENAI_API_KEY, GROQ_API_KEY and the like,
and PLANAR_LOCAL_MODELS=name=path.gguf. Without a prompt it reads standard input, or talks with you.

  planar chat --gguf model.gguf "Three rivers in Spain?"
  git diff | planar chat --model openai:gpt-6-luna "Explain this change."
"""


def add_to(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "chat",
        help="ask a model, or talk with it",
        description="Ask a model and see its answer as it arrives.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("prompt", nargs="*", help="the question; standard input, if piped, is put below it")
    parser.add_argument("--gguf", metavar="FILE", help="a model file to run in this process")
    parser.add_argument("--model", default="auto", help="an alias, provider:model, or auto (default)")
    parser.add_argument("--tenant", default="default", help="who pays (default: default)")
    parser.add_argument("--system", help="what the model should know before it answers")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="most tokens of an answer")
    parser.add_argument("--temperature", type=float, metavar="T", help="0 (always the likeliest) to 2")
    parser.add_argument("--seed", type=int, metavar="N", help="make sampling repeatable")
    parser.add_argument("--json", action="store_true", help="print the whole completion as one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Ask, and print. The figures go to standard error, so that a pipe gets the answer alone."""
    return anyio.run(_run, _Wish.of(arguments))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    prompt: str
    gguf: str | None
    system: str | None
    as_json: bool
    options: CallOptions

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> _Wish:
        piped = "" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.read().strip()
        options = CallOptions(
            model=arguments.model,
            tenant=arguments.tenant,
            max_tokens=arguments.max_tokens,
            temperature=arguments.temperature,
            seed=arguments.seed,
        )
        return cls(
            prompt="\n\n".join(text for text in (" ".join(arguments.prompt), piped) if text),
            gguf=arguments.gguf,
            system=arguments.system,
            as_json=arguments.json,
            options=options,
        )


async def _run(wish: _Wish) -> int:
    async with _client(wish) as client:
        talk = client.with_options(**wish.options)
        history = [] if wish.system is None else [Message("system", wish.system)]
        if wish.prompt or not sys.stdin.isatty():
            completion = await _answer(talk, [*history, Message("user", wish.prompt)], as_json=wish.as_json)
            return 0 if completion.finish_reason in ("stop", "length", "tool_calls") else 1
        print("An empty line or Ctrl-D ends the conversation.", file=sys.stderr)
        async for question in _questions():
            history.append(Message("user", question))
            try:
                completion = await _answer(talk, history, as_json=wish.as_json)
            except PlanarError as error:
                print(f"planar: {error}", file=sys.stderr)
                history.pop()
                continue
            history.append(completion.message)
    return 0


def _client(wish: _Wish) -> Planar:
    if wish.gguf is None:
        return Planar.from_env()
    from planar.providers.local.llamacpp import LlamaCpp

    return Planar(providers=[LlamaCpp(wish.gguf, name="local")])


async def _questions() -> AsyncIterator[str]:
    while True:
        try:
            question = await anyio.to_thread.run_sync(lambda: input("> "), abandon_on_cancel=True)
        except EOFError:
            return
        if not question.strip():
            return
        yield question


async def _answer(client: Planar, messages: list[Message], *, as_json: bool) -> Completion:
    async with client.stream(messages) as stream:
        async for token in stream:
            if not as_json:
                print(token, end="", flush=True)
        completion = await stream.completion()
    if as_json:
        print(json.dumps(as_data(completion), ensure_ascii=False))
        return completion
    print()
    for notice in completion.notices:
        print(f"note: {notice}", file=sys.stderr)
    print(figures(completion), file=sys.stderr)
    return completion


def figures(completion: Completion) -> str:
    """One line for a person: who answered, tokens, cost, time to the first token, speed, why it ended."""
    usage, timings = completion.usage, completion.timings
    parts = [completion.attempts[-1].deployment if completion.attempts else completion.model]
    if usage is not None:
        about = "about " if usage.estimated else ""
        parts.append(f"{about}{usage.input_tokens} tokens in, {usage.output_tokens} out")
    parts.append("cost unknown" if completion.cost_usd is None else f"{completion.cost_usd:f} USD")
    if timings.ttft is not None:
        parts.append(f"first token after {timings.ttft:.2f} s")
    if timings.tokens_per_second is not None:
        parts.append(f"{timings.tokens_per_second:.1f} tokens/s")
    parts.append(f"ended by {completion.finish_reason}")
    return "[" + " | ".join(parts) + "]"


def as_data(completion: Completion) -> dict[str, object]:
    """A completion as JSON: money as text, so that no digit is lost."""
    usage, timings = completion.usage, completion.timings
    return {
        "text": completion.text,
        "finish_reason": completion.finish_reason,
        "raw_finish_reason": completion.raw_finish_reason,
        "provider": completion.provider,
        "model": completion.model,
        "cost_usd": None if completion.cost_usd is None else f"{completion.cost_usd:f}",
        "usage": None
        if usage is None
        else {
            "input_tokens": usage.input_tokens,
            "cached_input_tokens": usage.cached_input_tokens,
            "output_tokens": usage.output_tokens,
            "reasoning_tokens": usage.reasoning_tokens,
            "estimated": usage.estimated,
        },
        "timings": {
            "queued": timings.queued,
            "ttft": timings.ttft,
            "total": timings.total,
            "tokens_per_second": timings.tokens_per_second,
        },
        "attempts": [attempt.deployment for attempt in completion.attempts],
        "notices": list(completion.notices),
        "request_id": completion.request_id,
    }
