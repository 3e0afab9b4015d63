"""`Planar.from_env`: which providers an environment makes, in which words each vendor is spoken to."""

from __future__ import annotations

import pytest

import planar

KEY = "sk-not-a-real-key"


def providers(**environ: str) -> dict[str, str]:
    client = planar.Planar.from_env(environ)
    return {name: type(provider).__name__ for name, provider in client.providers.items()}


@pytest.mark.parametrize(
    ("variable", "name", "kind"),
    [
        ("OPENAI_API_KEY", "openai", "OpenAI"),
        ("ANTHROPIC_API_KEY", "anthropic", "Anthropic"),
        ("GOOGLE_API_KEY", "gemini", "Gemini"),
        ("GEMINI_API_KEY", "gemini", "Gemini"),
        ("GROQ_API_KEY", "groq", "OpenAICompatible"),
        ("DEEPSEEK_API_KEY", "deepseek", "OpenAICompatible"),
        ("MISTRAL_API_KEY", "mistral", "OpenAICompatible"),
        ("OPENROUTER_API_KEY", "openrouter", "OpenAICompatible"),
        ("TOGETHER_API_KEY", "together", "OpenAICompatible"),
        ("XAI_API_KEY", "xai", "OpenAICompatible"),
        ("OLLAMA_API_KEY", "ollama", "Ollama"),
    ],
)
def test_a_vendors_own_variable_makes_its_provider(variable: str, name: str, kind: str) -> None:
    assert providers(**{variable: KEY}) == {name: kind}


def test_a_key_shows_nowhere() -> None:
    client = planar.Planar.from_env({"OPENAI_API_KEY": KEY, "ANTHROPIC_API_KEY": KEY, "GROQ_API_KEY": KEY})

    assert KEY not in repr(client) + "".join(map(repr, client.providers.values()))


def test_an_ollama_host_needs_no_key_and_no_scheme() -> None:
    client = planar.Planar.from_env({"OLLAMA_HOST": "127.0.0.1:11434"})

    assert "http://127.0.0.1:11434" in repr(client.providers["ollama"])


def test_another_address_is_taken_from_the_variable_beside_the_key() -> None:
    client = planar.Planar.from_env({"GROQ_API_KEY": KEY, "GROQ_BASE_URL": "http://127.0.0.1:9/v1"})

    assert "http://127.0.0.1:9/v1" in repr(client.providers["groq"])


def test_google_s_key_wins_over_gemini_s() -> None:
    assert providers(GOOGLE_API_KEY=KEY, GEMINI_API_KEY="other") == {"gemini": "Gemini"}


def test_local_models_come_first_and_keep_their_names(smollm2: str) -> None:
    found = providers(OPENAI_API_KEY=KEY, PLANAR_LOCAL_MODELS=f"small={smollm2}")

    assert list(found) == ["small", "openai"]


def test_the_only_model_file_is_called_local(smollm2: str) -> None:
    client = planar.Planar.from_env({"PLANAR_LOCAL_MODELS": smollm2})

    assert [candidate.deployment for candidate in client.plan("Hi").order] == ["local:default"]


def test_all_problems_are_told_at_once_and_no_key_with_them() -> None:
    environ = {"OPENAI_API_KEY": f" {KEY}", "AZURE_OPENAI_API_KEY": KEY, "PLANAR_LOCAL_MODELS": "=x"}

    with pytest.raises(planar.ConfigurationError) as caught:
        planar.Planar.from_env(environ)

    for words in ("OPENAI_API_KEY has white space", "AZURE_OPENAI_BASE_URL", "PLANAR_LOCAL_MODELS"):
        assert words in str(caught.value)
    assert KEY not in str(caught.value)
