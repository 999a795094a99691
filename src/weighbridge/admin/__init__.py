"""Pages for people, in a process of their own (extra `[admin]`): so far the one where they label pairs.

- `guard`: what every request must pass and every answer carries: Host, Origin, headers
- `sessions`: tokens, sessions, the token that a form must bring along
- `site`: sign-in, sign-out and the pages; rooms are mounted into it
- `labels`: the blind side-by-side page and its three calls
- `process`: listening
"""
