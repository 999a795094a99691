"""The licence line of an arm: what is known of its terms and of the organisation, and what to do about the rest."""

import pytest

from weighbridge.licenses import finding
from weighbridge.records.canonical import canonical, parse
from weighbridge.records.evidence import Finding
from weighbridge.records.table import Arm, Weights


def found(terms: str | None, weights: Weights | None = "open") -> Finding:
    return finding(Arm(name="q", endpoint="e", model="m", weights=weights, terms=terms), "2026-11-25")


@pytest.mark.parametrize("terms", ["Apache-2.0", "MIT", "mit", "BSD-3-Clause", "CC0-1.0", "ISC", "CC-BY-4.0"])
def test_a_permissive_licence_is_allowed(terms: str) -> None:
    assert found(terms).verdict == "allowed"


def test_the_duties_of_passing_weights_on_are_named() -> None:
    duties = found("Apache-2.0").obligations
    assert any("4(d)" in duty and "NOTICE" in duty for duty in duties)
    assert all(duty.startswith("Once that happens: ") for duty in duties)
    assert found("CC0-1.0").obligations == ()


@pytest.mark.parametrize(
    ("terms", "word"),
    [
        ("MIT OR GPL-3.0-only", "allowed"),
        ("MIT AND Apache-2.0", "allowed"),
        ("MIT AND GPL-3.0-only", "unclear"),
        ("(MIT AND GPL-3.0-only) OR Apache-2.0", "allowed"),
        ("MIT AND (GPL-3.0-only OR Apache-2.0)", "allowed"),
        ("Apache-2.0 WITH LLVM-exception", "unclear"),
        ("GPL-3.0-only", "unclear"),
        ("CC-BY-NC-4.0", "unclear"),
    ],
)
def test_expressions_are_read_as_choices_and_sums(terms: str, word: str) -> None:
    assert found(terms).verdict == word


@pytest.mark.parametrize("terms", ["qwen-2024", "llama3.1", "", "MIT OR", "Apache 2", "(((", "x" * 500])
def test_what_is_no_spdx_id_is_unclear_and_says_what_to_do(terms: str) -> None:
    row = found(terms)
    assert row.verdict == "unclear"
    assert any(reason.startswith("to do: ") for reason in row.reasons)


@pytest.mark.parametrize("weights", ["closed", "open", None])
def test_without_terms_it_is_unclear_whatever_the_weights(weights: Weights | None) -> None:
    assert found(None, weights).verdict == "unclear"


def test_a_licence_of_weights_does_not_license_closed_ones() -> None:
    row = found("Apache-2.0", "closed")
    assert row.verdict == "unclear"
    assert "terms of the API" in row.reasons[0]


def test_a_finding_is_a_record_that_reads_back() -> None:
    row = found("MIT")
    assert parse(canonical(row), Finding) == row
