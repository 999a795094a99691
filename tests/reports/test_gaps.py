from msgspec.structs import replace

from tests.reports.made import SliceShape, exchange, inputs, table, trial
from weighbridge.records.exchange import Exchange
from weighbridge.records.usage import Usage
from weighbridge.reports.build import assemble
from weighbridge.reports.gather import Judged


def gaps_of(judged: Judged, log: list[Exchange]) -> dict[str, str]:
    candidate = assemble(inputs([judged], log, table=table())).routes[0].candidates[0]
    return {gap.what: gap.fact for gap in candidate.gaps}


def made() -> tuple[Judged, list[Exchange]]:
    return trial({"task=refund": SliceShape(0.95, 0.97, 60)})


def test_streaming_is_a_gap_until_some_replay_was_streamed() -> None:
    judged, log = made()
    assert "Streaming" in gaps_of(judged, log)
    first = next(one.id for one in log if one.purpose == "trial")
    some = [replace(one, stream=True) if one.id == first else one for one in log]
    assert not {"Streaming", "Answers in one piece"} & gaps_of(judged, some).keys()
    assert "Answers in one piece" in gaps_of(judged, [replace(one, stream=True) for one in log])


def test_tool_calls_are_a_gap_until_a_compared_answer_made_one() -> None:
    judged, log = made()
    assert "Tool calls" in gaps_of(judged, log)
    assert judged.evidence is not None
    item = judged.evidence.pairs[0].item
    called = [
        replace(one, attempts=(replace(one.attempts[0], finish_reason="tool_calls"),)) if one.id == item else one
        for one in log
    ]
    assert "Tool calls" not in gaps_of(judged, called)


def test_the_longest_prompt_tested_is_named_beside_the_longest_there_is() -> None:
    judged, log = made()
    found = gaps_of(judged, [*log, exchange("long", usage=Usage(9_000, 1))])
    what = next(what for what in found if what.startswith("Prompts over"))
    assert "had 9,000" in found[what]


def test_human_labels_close_the_gap_about_people() -> None:
    judged, log = made()
    assert any(what.startswith("What people think") for what in gaps_of(judged, log))
    verdicts = tuple(replace(verdict, label_source="judge+human") for verdict in judged.verdict.verdicts)
    human = Judged(judged.digest, replace(judged.verdict, verdicts=verdicts), judged.evidence, judged.findings)
    assert not any(what.startswith("What people think") for what in gaps_of(human, log))


def test_what_was_left_out_is_counted_by_reason() -> None:
    found = gaps_of(*made())
    assert found["12 requests of the span"] == "left out: 9 no body and 3 no gold answer"


def test_a_slice_without_grader_is_named() -> None:
    judged, log = made()
    silent = replace(judged.verdict.verdicts[0], slice="task=mail", label_source="none", n=0)
    verdict = replace(judged.verdict, verdicts=(*judged.verdict.verdicts, silent))
    assert "Quality in task=mail" in gaps_of(Judged(judged.digest, verdict, judged.evidence, judged.findings), log)
