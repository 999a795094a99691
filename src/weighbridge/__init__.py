"""Weighbridge moves LLM traffic from closed APIs to open-weight models, with proof.

Rooms, from the nouns up: `records` (the values that rooms hand each other), `config`, `store` (the door to durable
state), `wire` (dialects as pure functions), `stats`, `upstream`, `exchanges` (the exchange log), `ledger`, `licenses`,
`grading`, then the four that act: `gateway`, `keeper`, `trials`, `ramp`, and `scan`; on top `reports`, `admin`, `app`
(processes) and `cli`. Imports go downwards only; `scripts/check` enforces it.
"""

__version__ = "0.1.0"
