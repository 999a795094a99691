"""The door to durable state: where files lie, the database of the keeper, and the control socket to reach it.

- `layout`: the one place that knows file names under the store's folder
- `control`: the messages of `control.sock` and the blocking client
- `database`: SQLite through apsw; only the keeper opens it
"""
