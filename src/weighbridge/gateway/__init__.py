"""The hot path: one way in, one way out.

    Client (HTTP in) -> admit -> Exchange -> Relay (HTTP out) -> Exchange.finish -> Client

- `lanes`: the route table compiled for speed: what does not change per request is bytes already. A `Lane` is a route
  with one of its arms, and says whether a prompt may be sent there at all
- `client`: the server side of HTTP; strict about everything that llhttp lets pass
- `admit`: parse, key or trial token, route, arm, send gate, hold; gives an `Exchange` or a `Refusal`
- `exchange`: one request on its way, and its one exit
- `relay`: one connection to a provider; passes the provider's bytes on
- `purse`: holds against leases of budgets, and asks the keeper for more
- `trials`: checks trial tokens
- `meter`: what is counted
- `gateway`: what all of these share: table, log, pools, timers
- `channel`: the lines to the supervisor and to the keeper
- `worker`: the process

A worker imports no database, no numbers, no web framework and no price book (a test asks a running one).
"""

import sys

if "msgspec" not in sys.modules and "typing_extensions" not in sys.modules:
    # msgspec takes typing_extensions where it is installed, and is as well served by typing: 7 MB less in each worker.
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]
    import msgspec  # noqa: F401

    del sys.modules["typing_extensions"]
