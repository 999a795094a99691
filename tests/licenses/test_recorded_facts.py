"""What recorded facts mean for particular people: each threshold axis, role, territory, as-of rule, gate, exemption."""

import msgspec
import pytest

from tests.licenses.profiles import ON, everything, org
from weighbridge.licenses.check import check
from weighbridge.licenses.profile import Profile, Range

SMALL = {"product": 1000.0, "all_products": 1000.0}
M = 1e6


def tokens(amount: float) -> Profile:
    return msgspec.structs.replace(org("product"), output_tokens_month=Range(amount, amount))


def german(*roles: str) -> Profile:
    return everything(*roles, amount=1000, place="DE")


CASES: list[tuple[str, str, Profile, str]] = [
    # axis mau_product
    ("Qwen2.5 at 100 million users exactly is still below", "qwen-2024",
     org("product", users={"product": 100 * M}), "obligations"),
    ("Qwen2.5 one user above needs a licence", "qwen-2024",
     org("product", users={"product": 100 * M + 1}), "permission"),
    ("Kimi K2 shows its name above 100 million users", "kimi-k2-modified-mit",
     org("product", users={"product": 101 * M}, revenue={"product_month": 0}), "obligations"),
    ("Tongyi 2023 counts users continuously, a host too", "tongyi-qianwen-2023",
     org("model_service", users={"product": 150 * M}), "permission"),
    # axis mau_all_products, counted at release
    ("Llama 4 counts users at its release, not today", "llama-4",
     org("product", established_in=("US",), users={"all_products": 900 * M}, users_on={"2025-04-05": 600 * M}),
     "obligations"),
    ("Llama 4 above 700 million at its release", "llama-4",
     org("product", established_in=("US",), users={"all_products": 1}, users_on={"2025-04-05": 701 * M}), "permission"),
    ("a figure of the month before the release will do", "llama-3.3",
     org("product", users_on={"2024-11-30": 800 * M}), "permission"),
    ("a figure of two months before does not", "llama-3.3",
     org("product", users_on={"2024-09-30": 800 * M}), "unclear"),
    ("today's users say nothing about the release", "llama-3.1",
     org("product", users={"all_products": 10.0}), "unclear"),
    ("Hunyuan3D has the lowest user line", "tencent-hunyuan-3d-2.0",
     org("product", established_in=("US",), users_in=("US",), users_on={"2025-01-21": 1.5 * M}), "permission"),
    ("HyperCLOVA at ten million is below", "hyperclova-x-seed-2025",
     org("product", users_on={"2025-04-24": 10 * M}, businesses=()), "obligations"),
    ("DBRX above its line", "dbrx-open-model", org("product", users_on={"2024-03-27": 701 * M}), "permission"),
    # axis mau_all_products, continuous
    ("IndexTTS2 tests all users continuously", "bilibili-indextts2",
     org("product", users={"all_products": 101 * M}, revenue={"entity_year": 0}), "permission"),
    # axis revenue_product_monthly
    ("K2 at US$20M a month exactly owes nothing", "kimi-k2-modified-mit",
     org("product", users=SMALL, revenue={"product_month": 20 * M}), "allowed"),
    ("K2 above owes its name", "kimi-k2-modified-mit",
     org("product", users=SMALL, revenue={"product_month": 20 * M + 1}), "obligations"),
    # axis revenue_product_annual
    ("H3 above US$20M a year needs an authorisation", "minimax-h3-community",
     org("product", established_in=("SG",), users_in=("SG",), revenue={"product_year": 21 * M}), "permission"),
    ("Music3 below shows its name", "minimax-music3-community",
     org("product", revenue={"product_year": 5 * M}), "obligations"),
    ("Music3 above needs an authorisation", "minimax-music3-community",
     org("product", revenue={"product_year": 25 * M}), "permission"),
    # axis revenue_product_annual_recurring
    ("MiniMax M2 above US$30M recurring shows its name", "minimax-m2-modified-mit",
     org("product", users=SMALL, revenue={"product_recurring_year": 31 * M}), "obligations"),
    ("MiniMax M2 below owes nothing", "minimax-m2-modified-mit",
     org("product", users=SMALL, revenue={"product_recurring_year": 29 * M}), "allowed"),
    # axis revenue_entity_annual
    ("Stability above US$1M is paid", "stability-community-2024",
     org("internal", revenue={"entity_year": 2 * M}, via="self_hosted"), "fee"),
    ("Stability below asks for registration", "stability-community-2024",
     org("internal", revenue={"entity_year": 0.5 * M}), "obligations"),
    ("LFM's line is met at exactly US$10M", "lfm-open-1.0",
     org("product", revenue={"entity_year": 10 * M}), "permission"),
    ("LTX is paid from US$10M on", "ltx-2.x-community",
     org("product", revenue={"entity_year": 10 * M}, businesses=()), "fee"),
    ("a line in yuan is certain far above any rate", "bilibili-indextts2",
     org("product", users=SMALL, revenue={"entity_year": 300 * M}), "permission"),
    ("and far below", "bilibili-indextts2",
     org("product", users=SMALL, revenue={"entity_year": 50 * M}), "obligations"),
    ("between, no rate is recorded", "bilibili-indextts2",
     org("product", users=SMALL, revenue={"entity_year": 140 * M}), "unclear"),
    # axis revenue_entity_aggregate with the gate of a business
    ("K3 counts a host's whole group", "kimi-k3",
     org("model_service", revenue={"group_12_months": 20 * M + 1}), "permission_fee_expected"),
    ("K3 leaves a small host alone", "kimi-k3",
     org("model_service", users=SMALL, revenue={"group_12_months": 19 * M, "product_month": 0}, via="self_hosted"),
     "allowed"),
    ("K3 reaches a product maker whose sister company hosts models", "kimi-k3",
     org("product", revenue={"group_12_months": 30 * M}, businesses=("model_service",), via="self_hosted"),
     "permission_fee_expected"),
    ("Qwen3.8-Max has the line at US$50M", "qwen3.8-max",
     org("model_service", users=SMALL, revenue={"group_12_months": 49 * M, "product_month": 0}), "allowed"),
    ("Qwen3.8-Max catches a coding assistant above it", "qwen3.8-max",
     org("work_assistant", revenue={"group_12_months": 51 * M}), "permission_fee_expected"),
    ("GLM-5.3 concerns hyperscale hosts only", "glm-5.3",
     org("model_service", revenue={"group_12_months": 9e9}), "allowed"),
    ("a hyperscaler passes a review first", "glm-5.3",
     org("model_service", revenue={"group_12_months": 11e9}), "permission"),
    ("even for internal use: no exemption is recorded", "glm-5.3",
     org("internal", revenue={"group_12_months": 11e9}, businesses=("model_service",)), "permission"),
    # axis revenue_consolidated_monthly
    ("Mistral's line is monthly and consolidated", "mistral-modified-mit",
     org("product", revenue={"consolidated_month": 21 * M}), "prohibited"),
    ("an employee at home is measured by the employer", "mistral-modified-mit",
     org("personal", commercial=False, revenue={"employer_consolidated_month": 1e9}), "prohibited"),
    ("the employer's turnover says nothing about a company's own use", "mistral-modified-mit",
     org("product", revenue={"employer_consolidated_month": 1e9}), "unclear"),
    # axis output_tokens
    ("YandexGPT above ten million tokens a month", "yandexgpt-5-lite", tokens(11 * M), "permission"),
    # axis business_type
    ("Qwen Community has no floor for a host", "qwen-community-1.0",
     org("model_service", revenue={"group_12_months": 0}), "permission"),
    ("and none for a group with an assistant", "qwen-community-1.0",
     org("product", businesses=("ai_work_assistant",)), "permission"),
    ("without such a business it is free", "qwen-community-1.0",
     org("product", users=SMALL, revenue={"product_month": 0}, businesses=()), "allowed"),
    # axis competing_product
    ("HyperCLOVA is not for NAVER's rivals", "hyperclova-x-seed-2025",
     org("product", users_on={"2025-04-24": 1.0}, businesses=("competes_with:NAVER",)), "permission"),
    ("LTX is not for products that compete with Lightricks", "ltx-2.x-community",
     org("product", revenue={"entity_year": 1.0}, businesses=("competes_with:Lightricks",)), "prohibited"),
    # territory
    ("H3 has no grant in the United States", "minimax-h3-community",
     everything("product", amount=1000, place="US"), "permission_fee_expected"),
    ("H3 has none for users in Korea either", "minimax-h3-community",
     org("product", established_in=("SG",), users_in=("SG", "KR")), "permission_fee_expected"),
    ("Tencent excludes the United Kingdom, also written UK", "tencent-hy-community-2025",
     org("internal", established_in=("UK",), users_in=("US",)), "prohibited"),
    ("HunyuanDiT excluded the EU only", "hunyuandit-2024", german("product"), "prohibited"),
    ("openPangu excludes the EU", "openpangu-model-license", german("internal"), "prohibited"),
    ("Llama 4 asks where the licensee sits, not where its users are", "llama-4",
     org("product", established_in=("US",), users_in=("DE",), users_on={"2025-04-05": 1.0}), "obligations"),
    ("a licensee in both asks for its principal place", "llama-4",
     org("product", established_in=("US", "DE"), users_on={"2025-04-05": 1.0}), "unclear"),
    ("Llama 3.2 text models are granted in the EU", "Llama 3.2 (text)",
     org("product", established_in=("FR",), users_on={"2024-09-25": 1.0}), "obligations"),
    ("its vision models are not", "Llama-3.2-11B-Vision-Instruct",
     org("product", established_in=("FR",), users_on={"2024-09-25": 1.0}), "prohibited"),
    ("without knowing which, nobody can tell", "llama-3.2",
     org("product", established_in=("FR",), users_on={"2024-09-25": 1.0}), "unclear"),
    ("an end user of somebody's product is not affected", "llama-4",
     org("internal", established_in=("DE",), users_on={"2025-04-05": 1.0}, via="third_party_product"), "obligations"),
    ("Norway is not in the EU", "llama-4",
     org("product", established_in=("NO",), users_on={"2025-04-05": 1.0}), "obligations"),
    # exemptions and routes
    ("K3 through a certified partner needs no agreement", "kimi-k3",
     org("product", revenue={"group_12_months": 1e9}, businesses=("model_service",), via="certified_partner"),
     "allowed"),
    ("K3 through Moonshot's own API neither", "kimi-k3",
     org("product", revenue={"product_month": 1e9}, via="licensor_api"), "allowed"),
    ("an unknown route leaves it open", "kimi-k3",
     org("product", revenue={"group_12_months": 1e9}, businesses=("model_service",)), "unclear"),
    ("what the rest of the group does must be said", "kimi-k3",
     org("product", users=SMALL, revenue={"group_12_months": 1e9, "product_month": 0}, via="self_hosted"), "unclear"),
    ("a host cannot hide behind a partner", "kimi-k3",
     org("model_service", revenue={"group_12_months": 1e9}, via="certified_partner"), "permission_fee_expected"),
    ("Qwen3.8-Max frees internal use", "qwen3.8-max",
     org("internal", revenue={"group_12_months": 1e9}, businesses=("model_service",)), "allowed"),
    ("so does Qwen Community, whatever the group does", "qwen-community-1.0",
     org("internal", businesses=("model_service",)), "allowed"),
    ("what GLM-5.3 says of outputs was read", "glm-5.3",
     org("distiller", revenue={"group_12_months": 0}), "allowed"),
    ("staff and customers together are not internal use", "kimi-k3",
     org("internal", "product", revenue={"group_12_months": 1e9}, businesses=("model_service",), via="self_hosted"),
     "permission_fee_expected"),
    ("an end user of a product is freed from Llama 2's line", "llama-2",
     org("internal", users_on={"2023-07-18": 1e9}, via="third_party_product"), "obligations"),
    # roles
    ("personal use of EXAONE is free", "exaone-1.1-nc", org("personal", commercial=None), "allowed"),
    ("a company's internal use is not", "exaone-1.1-nc", org("internal"), "permission"),
    ("research without gain is, within its ethical limits", "exaone-1.1-nc",
     org("internal", commercial=False), "obligations"),
    ("hosting M2.7 is commercial by its name", "minimax-m2.7-nc", org("model_service", commercial=False), "permission"),
    ("whether M2.7 serves a company's staff is not settled", "minimax-m2.7-nc", org("internal"), "unclear"),
    ("Falcon 180B may not be hosted without a licence", "falcon-180b-1.0", org("model_service"), "permission"),
    ("a relay is no host", "qwen-community-1.0",
     org("relay", users=SMALL, revenue={"product_month": 0}, businesses=()), "allowed"),
    ("an integrator pays Kakao", "kakao-kanana", org("integrator"), "fee"),
    ("a distributor of MIT weights keeps the notice", "mit", org("distributor"), "obligations"),
    ("a product on them owes nothing", "mit", org("product"), "allowed"),
    ("Flux is paid for any commercial use", "flux-1-dev-nc", org("product"), "fee"),
    ("LLaMA 1 is not for products at all", "llama-1-nc", org("product", commercial=False), "prohibited"),
    ("a person asks Meta for LLaMA 1", "llama-1-nc", org("personal", commercial=False), "permission"),
    ("DeepSeek R1's MIT text has no military ban", "mit", org("military"), "allowed"),
    ("M2.7's has one", "minimax-m2.7-nc", org("military"), "prohibited"),
    ("Gemma does not speak of it", "gemma-2025", org("military"), "unclear"),
    # training on outputs
    ("Llama 3 outputs may not train others", "llama-3",
     org("distiller", users_on={"2024-04-18": 1.0}), "prohibited"),
    ("Llama 3.1 outputs may, under its name", "llama-3.1",
     org("distiller", users_on={"2024-07-23": 1.0}), "obligations"),
    ("Qwen 2023 outputs may not", "tongyi-qianwen-2023", org("distiller", users=SMALL), "prohibited"),
    ("DeepSeek V3's may, and the restrictions follow", "deepseek-model-1.0", org("distiller"), "obligations"),
    ("IndexTTS2's may where nothing is sold", "bilibili-indextts2",
     org("distiller", commercial=False, users=SMALL, revenue={"entity_year": 0}), "obligations"),
    ("Stability bars foundation models only, so one must ask", "stability-community-2024",
     org("distiller", commercial=False), "unclear"),
    ("what is not recorded is not free", "k-exaone", org("distiller"), "unclear"),
    ("a teacher's ban reaches the student", "apache-2.0",
     org("product", trained_on_outputs_of=("llama-3",)), "prohibited"),
    # bands
    ("a band below the line decides", "kimi-k2-modified-mit",
     org("product", users=SMALL, revenue={"product_month": ("0", "20000000")}), "allowed"),
    ("a band above decides", "kimi-k2-modified-mit",
     org("product", users=SMALL, revenue={"product_month": ("20000001", "9e9")}), "obligations"),
    ("a band across does not", "kimi-k2-modified-mit",
     org("product", users=SMALL, revenue={"product_month": ("0", "20000001")}), "unclear"),
    # confidence and what is not known
    ("a reported restriction stands", "yi-community-2.1", org("product"), "permission"),
    ("a figure without a source does nothing", "jamba-open-model",
     org("product", revenue={"entity_year": 1e12}), "unclear"),
    ("no profile, no verdict where roles differ", "deepseek-model-1.0", Profile(), "unclear"),
]  # fmt: skip

PERMITTED_BUT_REPORTED: list[tuple[str, str, Profile, str]] = [
    ("gpt-oss rests on a report of its policy", "gpt-oss", org("product"), "allowed"),
    ("so does LFM below its line", "lfm-open-1.0", org("product", revenue={"entity_year": 9 * M}), "allowed"),
    ("that DeepSeek V4 is MIT is reported only", "DeepSeek-V4-Pro", org("product"), "allowed"),
    ("Mistral Medium 3.5 below the line", "mistral-modified-mit",
     org("product", revenue={"consolidated_month": 1 * M}), "allowed"),
    ("Tencent's LLM line inside its territory", "tencent-hunyuan-llm-community",
     everything("product", amount=1000), "obligations"),
    ("HunyuanDiT: the line is reported, though the territory was read", "hunyuandit-2024",
     everything("product", amount=1000), "obligations"),
    ("YandexGPT below its tokens", "yandexgpt-5-lite", tokens(9 * M), "allowed"),
    ("a hosted service nobody's contract of which was read", "hosted:deepseek", org("distiller"), "allowed"),
    ("that Kimi K2.5 kept the terms of K2 is reported", "Kimi-K2.5",
     org("product", users=SMALL, revenue={"product_month": 0}), "allowed"),
]  # fmt: skip


@pytest.mark.parametrize(("query", "who", "verdict"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
def test_a_recorded_fact_means(query: str, who: Profile, verdict: str) -> None:
    answer = check(query, who, ON)
    assert (verdict, None) == (answer.verdict, answer.if_confirmed)


@pytest.mark.parametrize(
    ("query", "who", "word"),
    [row[1:] for row in PERMITTED_BUT_REPORTED],
    ids=[row[0] for row in PERMITTED_BUT_REPORTED],
)
def test_what_only_reports_permit_is_unclear_and_says_what_it_would_be(query: str, who: Profile, word: str) -> None:
    answer = check(query, who, ON)
    assert ("unclear", word) == (answer.verdict, answer.if_confirmed)
    assert any("confirm" in question for question in answer.questions)


def test_a_text_did_not_hold_before_it_existed() -> None:
    answer = check("kimi-k3", org("internal"), "2026-01-01")
    assert "unclear" == answer.verdict
    assert "2026-07-27" in answer.reasons[0].text


def test_an_unknown_field_is_asked_for_with_the_line_it_decides() -> None:
    answer = check("qwen-2024", org("product"), ON)
    assert "unclear" == answer.verdict
    (question,) = answer.questions
    assert question.startswith("organization.users_monthly.product: ")
    assert "100 million users" in question


def test_nothing_is_asked_that_would_change_nothing() -> None:
    assert () == check("llama-4", org("product", established_in=("DE",)), ON).questions
    assert () == check("mit", org("product"), ON).questions


def test_every_sentence_of_a_finding_cites_clause_and_source() -> None:
    for name in ("kimi-k3", "minimax-m3-community", "llama-4", "mistral-modified-mit", "falcon-180b-1.0", "hosted:xai"):
        for reason in check(name, everything("product", amount=1e12, place="DE"), ON).reasons:
            assert reason.text
            assert reason.clause
            assert reason.source


def test_a_price_is_named_where_one_is_known() -> None:
    texts = " ".join(
        r.text for r in check("minimax-h3-community", everything("product", amount=1, place="US"), ON).reasons
    )
    assert "US$5,000 a month" in texts


def test_the_text_reported_for_the_weights_of_m2_5_may_only_restrict() -> None:
    """The repository's licence was read; the second text is reported for the weights and bans military use."""
    product = check("MiniMax-M2.5", org("product"), ON)
    assert (("minimax-m2.5-modified-mit", "minimax-model-2025-01"), "obligations") == (product.terms, product.verdict)
    assert "prohibited" == check("MiniMax-M2.5", org("military"), ON).verdict
    staff = org("internal")
    assert "allowed" == check("minimax-m2.5-modified-mit", staff, ON).verdict
    assert "obligations" == check("MiniMax-M2.5", staff, ON).verdict


def test_in_a_stack_what_nobody_knows_is_stricter_than_a_fee_and_milder_than_a_ban() -> None:
    who = org("product")
    assert ("fee", "unclear") == (check("flux-1-dev-nc", who, ON).verdict, check("gpt-oss", who, ON).verdict)
    stack = check("flux-1-dev-nc + gpt-oss", who, ON)
    assert ("unclear", "fee") == (stack.verdict, stack.if_confirmed)
    soldier = org("military")
    assert "prohibited" == check("deepseek-model-1.0 + gpt-oss", soldier, ON).verdict
