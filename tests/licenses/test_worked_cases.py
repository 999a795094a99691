"""Cases that lawyers and engineers worked through by hand. The numbers are theirs."""

import pytest

from tests.licenses.profiles import ON, org
from weighbridge.licenses.check import check
from weighbridge.licenses.profile import Profile

WORKED: list[tuple[int, str, str, Profile, str, str | None, str]] = [
    (
        1, "a cloud provider of US$25M in 12 months hosts Kimi K3", "kimi-k3",
        org("model_service", revenue={"group_12_months": 25e6}), "permission_fee_expected", None, "2",
    ),
    (
        2, "the same provider uses K3 only for its own staff", "kimi-k3",
        org("internal", revenue={"group_12_months": 25e6}, businesses=("model_service",)), "allowed", None, "4",
    ),
    (
        4, "a bank's chat bot on K3 is one feature of a product above US$20M a month", "kimi-k3",
        org("product", revenue={"product_month": 25e6}, businesses=(), via="self_hosted"), "obligations", None, "3",
    ),
    (
        6, "a bank uses Mistral Medium 3.5 internally", "mistral-modified-mit",
        org("internal", revenue={"consolidated_month": 500e6}), "prohibited", None, "revenue paragraph",
    ),
    (
        8, "a start-up of US$5M a year builds a product on MiniMax M3", "minimax-m3-community",
        org("product", revenue={"entity_year": 5e6}), "unclear", "obligations", "2",
    ),
    (
        9, "the same start-up at US$25M", "minimax-m3-community",
        org("product", revenue={"entity_year": 25e6}), "permission", None, "2",
    ),
    (
        11, "a paid coding assistant of any revenue on Qwen3.8-Flash-Next", "qwen-community-1.0",
        org("work_assistant"), "permission", None, "2",
    ),
    (
        13, "a German company builds a product on Llama 4", "llama-4",
        org("product", established_in=("DE",)), "prohibited", None, "AUP last part",
    ),
    (
        15, "a defence supplier uses a model under DeepSeek 1.0", "deepseek-model-1.0",
        org("military"), "prohibited", None, "5, Attachment A",
    ),
    (
        18, "Qwen2.5-72B is tuned on outputs of Llama 3.1 and published", "qwen-2024 + llama-3.1",
        org(
            "product", users={"product": 1000}, users_on={"2024-07-23": 1000}, businesses=(), via="self_hosted",
            publishes_derivatives=True, trained_on_outputs_of=("llama-3.1",),
        ),
        "obligations", None, "1.b.i",
    ),
    (
        20, "a host offers MiniMax M2.7 as an API", "minimax-m2.7-nc",
        org("model_service"), "permission", None, "3 and 4",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("query", "who", "verdict", "if_confirmed", "clause"),
    [row[2:] for row in WORKED],
    ids=[f"{row[0]}: {row[1]}" for row in WORKED],
)
def test_a_worked_case_gets_its_verdict_and_cites_its_clause(
    query: str, who: Profile, verdict: str, if_confirmed: str | None, clause: str
) -> None:
    answer = check(query, who, ON)
    assert (verdict, if_confirmed) == (answer.verdict, answer.if_confirmed)
    assert clause in {reason.clause for reason in answer.reasons}


def test_19_a_closed_providers_contract_decides_about_training_on_its_outputs() -> None:
    """Whatever the open licence says: the risk comes from the provider of the answers."""
    small = {"product": 1000.0}
    rival = org("distiller", users=small, businesses=("competes_with:OpenAI",), trained_on_outputs_of=("OpenAI",))
    assert "prohibited" == check("qwen-2024", rival, ON).verdict
    anthropic = org("distiller", users=small, businesses=(), trained_on_outputs_of=("hosted:anthropic",))
    assert "permission" == check("qwen-2024", anthropic, ON).verdict
    harmless = org("distiller", users=small, businesses=(), trained_on_outputs_of=("OpenAI",))
    answer = check("qwen-2024", harmless, ON)
    assert ("unclear", "obligations") == (answer.verdict, answer.if_confirmed)


def test_the_published_student_of_case_18_carries_both_names() -> None:
    answer = check("qwen-2024 + llama-3.1", WORKED[9][3], ON)
    due = [one.text for one in answer.obligations if not one.text.startswith(("Once", "If"))]
    assert any('Show this text: "Built with Qwen"' in text for text in due)
    assert any('Begin the name of the model with: "Llama"' in text for text in due)


def test_the_start_up_of_case_8_is_told_what_to_show_and_whom_to_mail() -> None:
    texts = " ".join(one.text for one in check("minimax-m3-community", WORKED[4][3], ON).obligations)
    assert '"Built with MiniMax M3"' in texts
    assert "api@minimax.io" in texts
