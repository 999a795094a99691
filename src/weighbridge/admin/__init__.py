"""The dashboard and admin API (its own process, extra `[admin]`). The supervisor serves /metrics until it is here."""
