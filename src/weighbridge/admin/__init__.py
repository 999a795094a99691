"""Dashboard and admin API, in a process of their own (extra `[admin]`).

- `guard`: what every request must pass and every answer carries: Host, Origin, headers
- `doors`: the one table of addresses with the role that each takes, and the gate in front of them
- `table`: every door there is, and the application made of them; `entrance`: signing in and out, one-time links
- `people`: who asks; `keeper`: asking in their name; `passwords`: argon2id
- `machines`: /metrics and /healthz; `render`: templates and static files
- `listen`: holding an address; `process`: serving there
- `pages`: the dashboard; `dashboard`: what its pages read from

The keeper decides who somebody is and what they may; this room only carries secrets to it.
"""
