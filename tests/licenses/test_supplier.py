"""Who is behind a model: from recorded facts and the installed price book; what is absent is not made up."""

from weighbridge.ledger.prices import listed_models
from weighbridge.licenses.supplier import supplier


def test_maker_size_law_and_api_terms_are_told_with_their_sources() -> None:
    found = supplier("Kimi-K3", listed_models())
    assert found is not None
    assert ("Moonshot AI", "CN", "2026-07-27", "2.8T", "104B") == (
        found.maker, found.country, found.released, found.total_params, found.active_params,
    )  # fmt: skip
    assert "moonshotai" in found.hosts
    assert any("Singapore" in fact.text and fact.confidence == "reported" for fact in found.facts)
    assert all(fact.source for fact in found.facts)


def test_a_host_must_list_the_very_model() -> None:
    """A host of GLM-5.3-Flash is none of GLM-5.3, nor one of MiniMax-M2 of M2.5."""
    flash, own = supplier("GLM-5.3-Flash", listed_models()), supplier("GLM-5.3", listed_models())
    assert flash is not None
    assert own is not None
    assert "GLM-5.3-Flash" == flash.model
    assert "GLM-5.3" == own.model
    assert "zai" in own.hosts


def test_without_a_model_there_is_no_picture() -> None:
    assert supplier("mit", listed_models()) is None
    assert supplier("nobody-knows", listed_models()) is None


def test_hosts_are_those_of_the_book_that_is_given() -> None:
    found = supplier("Kimi-K3", {"near": ("kimi-k3",), "other": ("kimi-k2",), "far": ("moonshotai/Kimi-K3-FP8",)})
    assert found is not None
    assert ("far", "near") == found.hosts
