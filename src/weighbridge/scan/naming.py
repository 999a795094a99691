"""Models and providers as files write them -> as the price book calls them."""

from functools import cache

import msgspec

from weighbridge.ledger import book

# How gateways and trace formats call providers of the price book.
_PROVIDERS = {
    "azure_ai": "azure",
    "azure.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "aws.bedrock": "aws",
    "vertex_ai": "google",
    "vertex_ai_beta": "google",
    "gemini": "google",
    "gcp.vertex_ai": "google",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "together_ai": "together",
    "fireworks_ai": "fireworks",
    "moonshot": "moonshotai",
    "moonshot_ai": "moonshotai",
    "mistral_ai": "mistral",
    "x_ai": "x-ai",
    "xai": "x-ai",
}
# Whom a bare model name is looked up with first: makers before resellers.
_MAKERS = ("openai", "anthropic", "google", "mistral", "deepseek", "moonshotai", "minimax", "zai", "cohere", "x-ai")


class Named(msgspec.Struct, frozen=True, kw_only=True):
    provider: str | None
    model: str
    why: str | None = None
    """Why there is no provider."""
    guessed: bool = False
    """The provider was not stated; it is the maker of a model of that name."""


@cache
def name_model(provider: str | None, model: str) -> Named:
    """Never raises. The model keeps the name under which its provider sells it."""
    known = _known()
    said = None if provider is None else provider.strip().lower()
    said = _PROVIDERS.get(said or "", said)
    plain = model.strip()
    if said is None and "/" in plain:
        head, rest = plain.split("/", 1)
        head = _PROVIDERS.get(head.lower(), head.lower())
        if head in known:
            return Named(provider=head, model=rest)
    if said is not None:
        if said in known:
            head, _, rest = plain.partition("/")
            own = rest and _PROVIDERS.get(head.lower(), head.lower()) == said
            return Named(provider=said, model=rest if own else plain)
        return Named(provider=None, model=plain, why=f"the price book knows no provider {provider!r}")
    for maker in _MAKERS:
        if maker in known and _sells(maker, plain):
            return Named(provider=maker, model=plain, guessed=True)
    why = f"no provider is stated, and no maker in the price book sells {model!r}"
    return Named(provider=None, model=plain, why=why)


@cache
def _known() -> frozenset[str]:
    return book.providers()


def _sells(provider: str, model: str) -> bool:
    return book.listed(provider, model.lower()) is not None
