"""The cost of recorded usages equals an independent computation to the nano-USD, and each difference is explained.

Ours: the wire's bytes, our codecs, our snapshot, whole numbers. Theirs: the usage as the vendor's own SDK read it, and
the extractors, prices and decimals of `genai-prices`.
"""

from __future__ import annotations

from collections import Counter

import pytest
from recorded_usages import Priced, priced

from planar.errors import InvalidRequestError

SEARCHES = "a search that the vendor ran, at 0.01 USD, is charged beside the tokens: it is not in a price of ours"
TIME_OF_DAY = "the price depends on the time of day: the snapshot has none"
SECONDS = "sound is charged by its seconds too, which a usage does not count: the snapshot has no price"
NO_TOTAL = "the vendor did not say how long the prompt or the answer was: that is estimated first, and is not 0"
DIFFERENT = {
    "an.anthropic.anthropic-text-parts-ahead-of-built-in-tool-call.b5620224": SEARCHES,
    "an.anthropic.anthropic-web-search.99476bce": SEARCHES,
    "an.anthropic.haiku-4-5-searches-cites-and-reports-tool-usage.6726f8fb": SEARCHES,
    "an.anthropic.stream-with-web-search-citations-1.53c74265": SEARCHES,
    "an.anthropic.streamed-web-search-preserves-server-tool-blocks.b38e1b64": SEARCHES,
    "an.anthropic.web-search.efa7ba3f": SEARCHES,
    "or.deepseek.deepseek-responses-function-tool-stream.ec878420": TIME_OF_DAY,
    "or.deepseek.deepseek-responses-function-tool-stream.fa46967a": TIME_OF_DAY,
    "or.deepseek.deepseek-responses-replay-own-reasoning-history.c7dc7ae9": TIME_OF_DAY,
    "or.deepseek.earches-server-side-and-records-the-search-turns.88ae4a54": TIME_OF_DAY,
    "or.deepseek.pseek-deepseek-v4-flash-streams-reasoning-deltas.a2c04299": TIME_OF_DAY,
    "co.deepseek.deepseek-deferred-capability-with-thinking.10c9a17e": TIME_OF_DAY,
    "co.deepseek.generate-text-with-multiple-tools-1.220e6755": TIME_OF_DAY,
    "co.deepseek.k-deepseek-chat-can-use-tools-without-parameters.08ae643e": TIME_OF_DAY,
    "co.deepseek.nonstreaming.bc446e77": TIME_OF_DAY,
    "co.deepseek.parameters-in-multi-turn-streaming-conversations.ce29f2a8": TIME_OF_DAY,
    "co.deepseek.permission-control-streaming-example.73e57372": TIME_OF_DAY,
    "co.deepseek.reasoner-parallel-tool-turn-leads-with-reasoning.a2b21815": TIME_OF_DAY,
    "co.deepseek.stream-with-tools-1.b172c78e": TIME_OF_DAY,
    "co.deepseek.streaming-disabled-stop-top-absent.86e00d28": TIME_OF_DAY,
    "co.deepseek.streaming-text-before-a-truncated-call-survives.a65a8e8c": TIME_OF_DAY,
    "co.deepseek.streaming-with-api-usage-capture.6ac83b4d": TIME_OF_DAY,
    "co.mistral.al-voxtral-small-latest-can-understand-mp3-audio.ce552405": SECONDS,
    "co.mistral.streaming-agent-sends-audio.dc7eeac0": SECONDS,
    "ge.gemini.generate-content-with-file-uri-image-true.c99c6bae": NO_TOTAL,
    "ge.gemini.google-model-safety-settings.30d2f2a9": NO_TOTAL,
}
ANSWERS = {answer.case.path.stem: answer for answer in priced()}
A_SEARCH = 10_000_000


@pytest.mark.parametrize("name", sorted(ANSWERS.keys() - DIFFERENT.keys()))
def test_a_recorded_usage_costs_the_same_by_both(name: str) -> None:
    answer = ANSWERS[name]

    assert answer.ours == answer.theirs


@pytest.mark.parametrize("name", sorted(DIFFERENT))
def test_a_difference_that_is_listed_is_one_and_is_what_is_said_of_it(name: str) -> None:
    answer, reason = ANSWERS[name], DIFFERENT[name]

    if reason is NO_TOTAL:
        with pytest.raises(InvalidRequestError, match="estimate"):
            assert answer.ours
    elif reason is SEARCHES:
        assert answer.usage.server_tool_calls
        assert answer.ours is not None
        assert answer.theirs == answer.ours + answer.usage.server_tool_calls * A_SEARCH
    else:
        assert answer.ours is None
        assert answer.theirs is not None


def test_what_is_compared_is_more_than_forty_answers_of_many_vendors_with_caches_and_thoughts() -> None:
    known: list[Priced] = [
        answer for name, answer in ANSWERS.items() if name not in DIFFERENT and answer.ours is not None
    ]
    vendors = Counter(answer.vendor for answer in known)

    assert len(known) >= 300
    assert set(vendors) == {"anthropic", "gemini", "groq", "mistral", "openai", "together", "xai"}
    assert len({(answer.vendor, answer.model) for answer in known}) >= 40
    assert sum(bool(answer.usage.cached_input_tokens) for answer in known) >= 20
    assert sum(bool(answer.usage.cache_write_tokens) for answer in known) >= 5
    assert sum(bool(answer.usage.reasoning_tokens) for answer in known) >= 40
