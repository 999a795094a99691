"""The nouns that the rooms hand each other: frozen values, no I/O.

- `canonical`: the exact bytes of a stored record and its digest
- `usage`: disjoint token classes, prices in integer nano-dollars, and the one function that turns them into a cost
- `table`: endpoints, arms, routes, keys and the numbered, immutable `RouteTable` that the gateway reads
- `budget`: caps over windows, and which of them a request is charged to
- `permission`: may a prompt of this route leave for that endpoint? (the send gate)
- `slices`: which slice a request belongs to
- `frames`: what a worker writes to the exchange log
- `exchange`: one client request with its outcome, put together from its frames
- `evidence`: paired scores, verdicts and licence findings
"""
