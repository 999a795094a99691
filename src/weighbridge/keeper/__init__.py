"""The keeper: one process per store that owns everything which must happen once.

- `lock`: only one keeper per store, by a file lock
- `compile`: configuration + prices -> the immutable, numbered `RouteTable`, as a pure function
- `publish`: numbers by compare-and-swap, the table on disk, the last good one beside it
- `tokens`: signed, expiring tokens that let a trial's replays through the gateway
- `server`: `control.sock`: answers calls, pushes events to workers
- `ledger`: which database the ledger is in
- `bank`: hands out leases on budgets; `projecting` brings the ledger up to date with the log
- `chores`: sealing, checkpoints, retention and erasure of the exchange log; the keeper only decides when
- `main`: the process; `parent` is what it says to the process that started it

Workers go on without a keeper, with the table they have.
"""
