"""Our decoders of Ollama's wire against what its own client made of the same bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from corpus import Exchange, Folded, assert_parts_fit, exchanges, fold, named, run
from planar.errors import ProviderServerError, TruncatedStreamError
from planar.events import Event
from planar.types import ResponseInfo
from planar.wire.ollama_chat import ChatDecoder, WholeDecoder, decode_embeddings, decode_models, error_from

FOLDER = "ollama.chat"
CHATS = ("ollama_chat", "ollama_generate")
ANSWERS = exchanges(FOLDER, lambda case: case.outcome == "ok" and case.endpoint in CHATS)
REFUSALS = exchanges(FOLDER, lambda case: case.outcome == "http_error")
FAILURES = exchanges(FOLDER, lambda case: case.outcome == "stream_error")
VECTORS = exchanges(FOLDER, lambda case: case.endpoint == "ollama_embed")
LISTS = exchanges(FOLDER, lambda case: case.endpoint == "ollama_tags")


def decoder_for(case: Exchange, response: ResponseInfo) -> ChatDecoder | WholeDecoder:
    return (ChatDecoder if case.recorded["stream"] else WholeDecoder)(response, "ollama")


def decode(case: Exchange, pieces: Sequence[bytes]) -> Folded:
    response = ResponseInfo()
    return run(decoder_for(case, response), pieces, response)


@pytest.mark.parametrize("case", ANSWERS, ids=named)
def test_an_answer_says_what_the_client_says(case: Exchange) -> None:
    want = case.said

    got = decode(case, [case.body])

    assert (got.text, got.reasoning, got.refusal) == (want["text"], want["reasoning"], "")
    called = [(call["name"], call["arguments"]) for call in want["tool_calls"]]
    assert [(name, json.loads(arguments)) for _, name, arguments in got.calls] == called
    assert len({call_id for call_id, _, _ in got.calls}) == len(called)
    assert got.response.model == want["model"]
    assert got.finish is not None
    assert got.finish.raw_reason == want["finish_reason"]
    neutral = {"stop": "tool_calls" if called else "stop", "length": "length"}
    assert got.finish.reason == neutral.get(want["finish_reason"], "other")
    if not want["usage"]:
        assert got.usage is None
        return
    assert got.usage is not None
    assert got.usage.raw == want["usage"]
    assert got.usage.input_tokens == want["usage"].get("prompt_eval_count")
    assert got.usage.output_tokens == want["usage"].get("eval_count")
    assert_parts_fit(got.usage)


@pytest.mark.parametrize("case", ANSWERS, ids=named)
def test_an_answer_does_not_depend_on_where_it_is_cut(case: Exchange) -> None:
    body = case.body
    whole = decode(case, [body])

    byte_by_byte = decode(case, [body[place : place + 1] for place in range(len(body))])

    assert byte_by_byte == whole
    for cut in case.cuts(200 if len(body) < 20_000 else 20):
        assert decode(case, [body[:cut], body[cut:]]) == whole


@pytest.mark.parametrize("case", ANSWERS, ids=named)
def test_a_truncated_answer_is_the_whole_one_or_an_error(case: Exchange) -> None:
    whole = decode(case, [case.body])
    cuts = case.truncations() if len(case.body) < 20_000 else case.truncations()[::10]

    for cut in cuts:
        try:
            got = decode(case, [case.body[:cut]])
        except TruncatedStreamError:
            continue
        assert got == whole, f"cut at {cut} of {len(case.body)}"


@pytest.mark.parametrize("case", REFUSALS, ids=named)
def test_a_refusal_carries_the_words_of_the_client(case: Exchange) -> None:
    want = case.expected["error"]

    error = error_from(case.status, case.headers, case.body, now=0.0, provider="ollama", deployment="ollama:m")

    assert type(error) is ProviderServerError
    assert (error.status, error.message, error.type, error.code) == (want["status"], want["message"], None, None)


@pytest.mark.parametrize("case", FAILURES, ids=named)
def test_a_failure_in_the_stream_is_raised_after_what_came_before_it(case: Exchange) -> None:
    response = ResponseInfo()
    decoder = decoder_for(case, response)

    events: list[Event] = list(decoder.feed(case.body))
    with pytest.raises(ProviderServerError) as caught:
        decoder.feed(b"")

    # The client says -1 for a failure without a status; ours is `None`.
    assert (caught.value.status, caught.value.message) == (None, case.expected["error"]["message"])
    assert fold(events, response).text == case.said["text"]


@pytest.mark.parametrize("case", FAILURES, ids=named)
def test_a_failing_stream_never_ends_well_wherever_it_is_truncated(case: Exchange) -> None:
    for cut in range(len(case.body)):
        with pytest.raises((TruncatedStreamError, ProviderServerError)):
            decode(case, [case.body[:cut]])


@pytest.mark.parametrize("case", VECTORS, ids=named)
def test_vectors_are_those_of_the_client(case: Exchange) -> None:
    got = decode_embeddings(case.body, provider="ollama", model="m")

    assert len(got.vectors) == case.said["count"]
    assert sorted({len(vector) for vector in got.vectors}) == case.said["dimensions"]
    assert list(got.vectors[0][:3]) == pytest.approx(case.said["first_values"], abs=1e-6)


@pytest.mark.parametrize("case", LISTS, ids=named)
def test_models_are_those_of_the_client_in_its_order(case: Exchange) -> None:
    got = decode_models(case.body, provider="ollama")

    assert len(got) == case.said["count"]
    assert [model.id for model in got][: len(case.said["ids_head"])] == case.said["ids_head"]


@pytest.mark.parametrize("case", VECTORS + LISTS, ids=named)
def test_a_truncated_document_is_an_error(case: Exchange) -> None:
    whole = case.body.rstrip()

    for cut in [cut for cut in case.cuts(200) if cut < len(whole)]:
        with pytest.raises(TruncatedStreamError):
            if case in VECTORS:
                decode_embeddings(whole[:cut], provider="ollama", model="m")
            else:
                decode_models(whole[:cut], provider="ollama")
