"""A sweep: many candidates (models, hosts, prompts) on the same requests, judged as one family.

- `walk`: one cursor for all; an item is one step for every candidate that still wants it; pure
- `record`: what is kept of a sweep, and from where each candidate had to be left out
- `board`: candidates by verdict, difference and measured cost on the same rows; the frontier; what halting saved; pure
- `run`: prepare, replay all candidates at once out of one purse, store; `retrace`: a sweep derived again

Each candidate keeps a plan, a journal, evidence and a verdict of its own, so that everything that reads verdicts reads
these. What they share is the frame, the order and the family: certificates hold at alpha over slices x candidates.
"""
