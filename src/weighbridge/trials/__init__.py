"""A trial: the same requests answered by the incumbent and a candidate, graded, and decided.

    exchanges --frame--> items, order --plan--> replay (through the gateway) --outcomes--> walk --> evidence, verdict

- `frame`: which captured exchanges can be used, which cannot and why; their order, fixed before anything is spent
- `plan`: the frozen plan, an object in the store; what one trial is, and what is another look
- `replay`: asks the candidate, with retries, adaptive concurrency and a purse
- `journal`: what was paid for, written down at once, so that a crash costs at most the requests in flight
- `judging`: a panel's opinion on a pair, through the gateway; `recall`: answers of earlier calls in place of new ones
- `walk`: feeds finished outcomes to the tests in the planned order and says which items are still wanted; pure
- `conclude`: walk -> evidence and verdict, with reasons in plain words; pure
- `labels`, `labelbook`, `labelled`: people label a drawn sample of a judged trial; the rows that a verdict reads
- `discover`, `prompts`: slices found in captured prompts; `drift`: has traffic moved away from a verdict's sample?
- `quote`: what a trial would take, before it
- `tune`: a prompt tried on split A; `carry`: one candidate's plan carried out; `sweep`: many of them, as one family
- `run`: all of it together; `stored`: verdicts read back
"""
