"""Processes: what `weighbridge serve` runs, and how a command reaches the keeper or a gateway.

- `serve(loaded)`: the supervisor of one keeper and N gateway workers, until a signal ends it
- `keeper_of(loaded)`: a control client to the running keeper, or to a temporary one under the same lock
- `gateway_of(loaded)`: a running gateway, or a temporary one with one worker on a free loopback port

    supervisor --spawns--> keeper    (answers control.sock, publishes the route table)
               --spawns--> workers   (serve; report metrics over a socketpair)

Whoever is started here ends when its starter does: each child holds one end of a socketpair and watches for its end.
"""

from weighbridge.app.reach import Gateway, gateway_of, keeper_of
from weighbridge.app.serve import serve

__all__ = ["Gateway", "gateway_of", "keeper_of", "serve"]
