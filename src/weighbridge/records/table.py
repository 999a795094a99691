"""The route table: everything a gateway worker needs to know, immutable and numbered.

The keeper compiles it from the configuration, the price book and (later) the ramp's state. Workers read it from disk
and multiply integers. It holds no secret: upstream keys stay references (`env:NAME`, `file:PATH`), client keys
are digests.
"""

from typing import Literal

import msgspec

from weighbridge.records.budget import Budget
from weighbridge.records.drill import DrillInForce
from weighbridge.records.ramp import RampInForce
from weighbridge.records.usage import Price, PriceFrom

SCHEMA = "route-table/1"

Dialect = Literal["openai", "openai-responses", "anthropic", "azure", "bedrock", "vertex"]
Speaks = Literal["openai", "openai-responses", "anthropic"]
Weights = Literal["open", "closed"]

SHARE_WHOLE = 10_000
"""Shares are basis points; the shares of a route sum to this."""


FailedCalls = Literal["unbilled", "refusals_unbilled", "processed_billed"]
"""`unbilled`: no error status costs anything. `refusals_unbilled`: 4xx costs nothing, 5xx is unknown.
`processed_billed`: so, but 400 and 408 are unknown too, because the prompt may have been read."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a model is called. The same weights on two hosts are two endpoints. `None` is unknown."""

    name: str
    dialect: Dialect
    base_url: str
    api_key: str | None = None
    """A reference, `env:NAME` or `file:PATH`; never the secret itself."""
    provider: str | None = None
    region: str | None = None
    retention_days: int | None = None
    trains_on_data: bool | None = None
    agreement: str | None = None
    precision: str = "unknown"
    loopback: bool = False
    address_is_own: bool = False
    """The base URL names an IP literal or `localhost`: written down on purpose, so the address guard lets it pass."""
    speaks: Speaks = "openai"
    """Which of a cloud host's APIs is called there."""
    api_version: str | None = None
    """Azure: a dated one names the deployment in the URL; `None` is its undated `v1` API."""
    token: str | None = None
    """A reference to a bearer token that somebody keeps fresh; read again and again."""
    credentials: str | None = None
    """Vertex: path of a service account's file; `None` is Google's default chain."""
    signing_region: str | None = None
    """Bedrock: the region that requests are signed for."""
    ca_file: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    tls_digest: str = ""
    """SHA-256 over the content of the three files, so that a renewed one makes another table."""
    concurrency_max: int | None = None
    """Attempts open there at once, over all workers of one gateway; `None`: no limit but that of connections."""
    queue_max: int = 100
    """Requests that may wait for a place, per worker."""
    queue_s_max: float = 5.0
    cancel_stops_billing: bool | None = None
    """Whether the provider bills only what it sent when a call is cancelled. `False`: it is read to its end instead."""

    failed_calls: FailedCalls = "refusals_unbilled"
    """What the provider bills for calls that it answered with an error status."""


class ServerTls(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """TLS towards clients: paths of PEM files, and a digest of their content."""

    cert: str
    key: str | None = None
    client_ca: str | None = None
    digest: str = ""


class Escalate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An arm whose answers are checked, and asked for again of another arm where a check fails."""

    to: str
    on: tuple[str, ...]
    check: str = ""
    labels: tuple[str, ...] = ()
    above_bytes: int | None = None
    slices: tuple[str, ...] = ()
    streams: Literal["first", "straight"] = "first"


class Arm(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Model + endpoint + parameters + prompt adaptation. Change one and it is another arm."""

    name: str
    endpoint: str
    model: str
    weights: Weights | None = None
    terms: str | None = None
    price: Price | None = None
    price_version: str | None = None
    """Where the price comes from and of which date; stored with every cost."""
    later: tuple[PriceFrom, ...] = ()
    """Known changes of the price, in order: dated ones, and hours of the day. The request's start decides."""
    system_prompt: str | None = None
    """Replaces the request's system prompt, or is added where there is none. A declared edit."""
    budget: str | None = None
    """Everything sent to this arm is charged there, whatever the purpose."""
    escalate: Escalate | None = None


class UsualOutput(msgspec.Struct, frozen=True, kw_only=True):
    """How long answers of an arm usually are on a route, of requests that name no limit (`ledger.usual`)."""

    arm: str
    tokens: int


class Share(msgspec.Struct, frozen=True, kw_only=True):
    arm: str
    basis_points: int


class Route(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The model name an application calls, mapped to arms."""

    name: str
    incumbent: str
    aliases: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    shares: tuple[Share, ...] = ()
    judges: tuple[str, ...] = ()
    """Arms that judge this route's answers; like any arm they get a prompt only where the send gate permits it."""
    slice_by: tuple[str, ...] = ()
    allow_regions: tuple[str, ...] = ()
    allow_retention_days: int | Literal["any"] = 0
    allow_training_on_data: bool | Literal["any"] = False
    max_tokens_default: int | None = None
    usual_output: tuple[UsualOutput, ...] = ()
    """Held where neither the request nor `max_tokens_default` names a limit."""
    fallbacks: tuple[str, ...] = ()
    """Arms to ask, in this order, when the chosen one cannot answer. Never for trials."""
    retries_max: int = 0
    """Attempts after the first, all before the first byte of an answer."""
    retry_on: tuple[str, ...] = ("connect", "429", "5xx")
    retry_ambiguous: bool = False
    """Also after a request was sent and no whole answer came: it may be billed twice."""
    retry_wait_s_max: float = 2.0
    hedge_after_s: float | None = None
    """A second attempt is made beside a first one that has been silent for so long; `None`: never."""
    budget: str | None = None
    """Everything that users send to this route is charged there too."""
    ramp: RampInForce | None = None
    """The ramp that the shares are of; `None` while everything goes to the incumbent because there is none."""
    drill: DrillInForce | None = None
    cuts: bool = False
    """A ramp went back, and streams of arms that have no share any more are to be cut."""


class Key(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A live secret of a client key: only a digest of it is kept. While a key is rotated it has two rows."""

    name: str
    digest: str
    """BLAKE2b-256 of the secret, 64 hex digits."""
    team: str | None = None
    routes: tuple[str, ...] = ()
    """Empty: no route at all. `("*",)`: every route."""
    budget: str | None = None
    expires_ns: int | None = None
    """From then on it lets nobody in, whether or not a newer table says so."""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


class Capture(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    bodies: bool = False
    sample_basis_points: int = SHARE_WHOLE
    redact: tuple[str, ...] = ()
    purpose: str = ""
    approved_by: str = ""
    encrypt_key: str | None = None
    """A reference to the secret that bodies are encrypted under; `None`: a key in the store."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Every queue, retry, body and wait has a named limit. Bytes and seconds."""

    head_bytes_max: int = 32 << 10
    """Request line and headers of one request."""
    body_bytes_max: int = 32 << 20
    """Body of one request; larger ones get 413."""
    upload_bytes_max: int = 512 << 20
    """Body of one request that passes through unread (files, audio): it goes on as it comes in and is not kept."""
    response_bytes_max: int = 64 << 20
    """One upstream answer that is not streamed."""
    client_connections_max: int = 10_000
    """Open client connections per worker; more are refused with 503."""
    upstream_connections_max: int = 1_000
    """Open upstream connections per worker."""
    request_receive_s_max: float = 30.0
    """From the first byte of a request to its last."""
    connect_s_max: float = 5.0
    """Until an upstream connection stands, TLS included."""
    first_byte_s_max: float = 300.0
    """From sending a request upstream to the first byte of its answer."""
    stream_idle_s_max: float = 120.0
    """Without a byte from upstream in the middle of an answer."""
    client_stall_s_max: float = 120.0
    """Without the client taking a byte that waits for it."""
    keepalive_idle_s_max: float = 60.0
    """Between two requests on one connection."""
    cancel_drains_max: int = 64
    """Answers read to their end for the bill, though their client left; per worker. Over it they are cancelled."""
    cancel_drain_s_max: float = 120.0
    """How long one of them is read."""
    drain_s_max: float = 30.0
    """From SIGTERM until running requests are cut off."""
    idempotent_waits_max: int = 1_000
    """Requests with an idempotency key that wait for the keeper, per worker."""
    idempotent_answer_bytes_max: int = 8 << 20
    """An answer kept for its idempotency key. A larger one is sent, not kept; who repeats it is told so."""
    stream_buffer_bytes_max: int = 256 << 10
    """Waiting for one slow reader before the upstream is paused."""


class RouteTable(msgspec.Struct, frozen=True, kw_only=True):
    """Immutable and numbered. A gateway never goes back to a lower number."""

    schema: str
    number: int
    created_ns: int
    config_digest: str
    trial_key: str
    """Ed25519 public key (64 hex digits) that trial tokens are checked with."""
    durability: Literal["process", "power"]
    capture: Capture
    limits: Limits
    endpoints: tuple[Endpoint, ...]
    arms: tuple[Arm, ...]
    routes: tuple[Route, ...]
    keys: tuple[Key, ...]
    server_tls: ServerTls | None = None
    budgets: tuple[Budget, ...] = ()
    verdicts: tuple[str, ...] = ()
    """Digests of the verdicts that allowed the shares; empty while everything goes to the incumbents."""

    def endpoint(self, name: str) -> Endpoint:
        return next(row for row in self.endpoints if row.name == name)

    def arm(self, name: str) -> Arm:
        return next(row for row in self.arms if row.name == name)

    def route(self, name: str) -> Route | None:
        """The route of a model name or alias, `None` where there is none."""
        return next((row for row in self.routes if row.name == name or name in row.aliases), None)
