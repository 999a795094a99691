"""The dashboard's pages. Each module has what a page shows as frozen records, a function that makes them, and handlers.

- `sources`: what pages read from: the configuration, the log, the objects, the keeper
- `shell`: the frame around a page, its navigation; `words`: how figures are written
- `overview`, `routes`, `trials`, `budgets`, `exchanges`, `licences`, `scan`, `alerts`: one subject each
- `live`: server-sent events

Reading never changes anything. What changes something is a call over the control socket, the same that a command makes.
"""
