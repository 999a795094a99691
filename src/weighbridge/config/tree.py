"""The configuration as one typed tree, one Section per table of the file."""

from typing import Literal

import msgspec

from weighbridge.records.budget import BudgetPurpose, FailMode, WindowKind
from weighbridge.records.people import Role
from weighbridge.records.table import Dialect, Limits, Speaks, Weights

GRADER_KINDS = (
    "exact", "normalised", "number", "regex", "label", "json", "tool_call", "sql", "code", "similarity", "rubric",
    "judge",
)  # fmt: skip
"""Kinds a `[[grader]]` may name, besides `python:module:function`."""

SLICE_KEYS = ("key", "system_prompt", "tools", "schema")

RETRY_WORDS = ("connect", "429", "5xx")
"""What `retry_on` of a route may hold."""

ROLES = (
    "personal", "internal", "product", "work_assistant", "model_service",
    "relay", "integrator", "distributor", "distiller", "military",
)  # fmt: skip


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every table in the file."""


class Server(Section, frozen=True, kw_only=True):
    """Where Weighbridge listens."""

    listen: str = "127.0.0.1:8400"
    """Where applications send their requests, `HOST:PORT`; port 0 takes a free one."""
    workers: int = 1
    """Gateway processes, 1 to 256; one keeps one core busy."""
    admin_listen: str = "127.0.0.1:8401"
    """Where the supervisor serves `/metrics` and `/healthz`. Keep it off public addresses."""
    log_format: Literal["text", "json"] = "text"
    """How `serve` logs on standard error: a line for people, or a JSON object with time, level, process and request id.
    """
    tls_cert: str | None = None
    """PEM file of the certificate (with its chain) that `listen` is served with over TLS; without it: plain HTTP. Read
    again with SIGHUP; open connections stay.
    """
    tls_key: str | None = None
    """PEM file of its private key, unencrypted; may be left out where it stands in `tls_cert`."""
    tls_client_ca: str | None = None
    """PEM file of authorities: clients must then show a certificate that one of them has signed, besides a key."""


class Store(Section, frozen=True, kw_only=True):
    """Where Weighbridge keeps what it records."""

    path: str = "weighbridge-data"
    """The folder that holds everything Weighbridge writes; relative to this file."""
    url: str | None = None
    """A PostgreSQL database for the ledger (`[postgres]` extra): gateways on several machines that name the same one
    share their caps exactly. `env:NAME`, `file:PATH`, or `postgresql://…` without a password. Everything else stays in
    `path`.
    """
    log: str | None = None
    """Reserved for an object store; refused by this version."""
    durability: Literal["process", "power"] = "process"
    """When an answer counts as recorded: `process` survives a killed process and can lose 50 ms in a power cut; `power`
    syncs to disk before the last byte reaches the client.
    """


class CaptureSection(Section, frozen=True, kw_only=True):
    """Whether prompts and answers are kept. Metadata (who, when, tokens, cost) is always recorded."""

    bodies: bool = False
    """Keep prompts and answers, encrypted. Trials need them. Off until `purpose` and `approved_by` say something."""
    purpose: str = ""
    """Why prompts are kept; shown in the report."""
    approved_by: str = ""
    """Who decided that they are kept; shown in the report."""
    sample: float = 1.0
    """The part of requests whose bodies are kept, 0.0 to 1.0."""
    redact: tuple[str, ...] = ("secrets",)
    """What is taken out before anything reaches the disk: `secrets` finds API keys, tokens and private keys. It
    reduces, it does not guarantee. A body that would take over a tenth of a second to look through is not kept.
    """
    keep_days: int = 30
    """Days until bodies and their keys are deleted."""
    keep_rows_days: int = 800
    """Days until the metadata of exchanges is deleted."""
    encrypt_key: str | None = None
    """The master key for bodies, `env:NAME` or `file:PATH`; without it one is made in the store, readable by its owner
    only.
    """


class EndpointSection(Section, frozen=True, kw_only=True):
    """Where a model is called. The same weights on two hosts are two endpoints. What is absent is unknown."""

    name: str
    """How arms refer to it."""
    dialect: Dialect = "openai"
    """The API it speaks: `openai` (chat completions, as most hosts have it), `openai-responses`, `anthropic`
    (messages); or chat completions at a cloud host with its own URLs and authentication: `azure`, `bedrock` ([aws]
    extra), `vertex` ([gcp] extra). Clients of any dialect may call any; between different ones requests and answers are
    translated (docs/reference/dialects.md).
    """
    base_url: str
    """What stands before `/chat/completions`, `/responses` or `/messages`, e.g. `https://api.openai.com/v1`,
    `https://api.anthropic.com/v1`. An IP literal or `localhost` is its own permission; names that resolve to private
    addresses are refused. `azure`: `https://NAME.openai.azure.com`. `bedrock`:
    `https://bedrock-runtime.REGION.amazonaws.com`. `vertex`:
    `https://REGION-aiplatform.googleapis.com/v1/projects/PROJECT/locations/REGION`.
    """
    api_key: str | None = None
    """Sent upstream, `env:NAME` or `file:PATH`; never the key itself. Without one `bedrock` signs with AWS
    credentials.
    """
    speaks: Speaks = "openai"
    """Only `azure`, `bedrock`, `vertex`: which of the host's APIs is called. `openai`: chat completions.
    `openai-responses` (not `vertex`). `anthropic`: the Messages API, as Claude has it there (`azure`:
    `https://NAME.services.ai.azure.com`; `vertex`: the arm's `model` is then the name in the URL, e.g.
    `claude-sonnet-4-5@20250929`).
    """
    api_version: str | None = None
    """Only `azure`: a dated API version, e.g. `2024-10-21`; the arm's `model` is then the deployment in the URL.
    Without it the undated `v1` API is spoken.
    """
    token: str | None = None
    """`azure`, `vertex`: an access token (Entra ID, Google) that something else keeps fresh, `env:NAME` or `file:PATH`;
    read again every 30 seconds. In place of `api_key`.
    """
    credentials: str | None = None
    """Only `vertex`: file of a service account; without it Google's default chain is asked (environment, metadata)."""
    signing_region: str | None = None
    """Only `bedrock`: the AWS region that requests are signed for; without it that in the host's name."""
    provider: str | None = None
    """The provider's id in the price book, e.g. `openai`, `deepseek`."""
    region: str | None = None
    """Where data is processed, e.g. `us`, `eu`; loopback counts as `local`. Unknown is refused for candidates."""
    retention_days: int | None = None
    """Days for which the provider keeps prompts. Unknown is refused for candidates."""
    trains_on_data: bool | None = None
    """Whether the provider trains on prompts. Unknown is refused for candidates."""
    agreement: str | None = None
    """Free text for the report, e.g. the data processing agreement and its date."""
    indemnity: str | None = None
    """Free text for the report: what its provider indemnifies you against, with contract, date and clause; `none` where
    it does not. Absent: unknown, and said so.
    """
    precision: str = "unknown"
    """Of the weights as served, e.g. `bf16`, `fp8`, `q4_k_m`: the same weights differ by host."""
    ca_file: str | None = None
    """PEM file of authorities to trust for this endpoint instead of the system's. Read again with SIGHUP."""
    client_cert: str | None = None
    """PEM file of a client certificate (with its chain) to show to this endpoint."""
    client_key: str | None = None
    """PEM file of its private key, unencrypted; may be left out where it stands in `client_cert`."""
    concurrency_max: int | None = None
    """Requests open there at once, over all workers; at least `server.workers`. Absent: no limit."""
    queue_max: int = 100
    """Requests that may wait for a place there, per worker; 0 refuses (or falls back) at once."""
    queue_s_max: float = 5.0
    """How long a request may wait for a place, in seconds."""
    cancel_stops_billing: bool | None = None
    """Whether a cancelled call stops costing. `false`: an answer whose client left is read to its end, so that its
    bill is known. Absent: what is known of `provider`, else it is cancelled and its cost marked as an upper bound.
    """
    failed_calls: Literal["unbilled", "refusals_unbilled", "processed_billed"] | None = None
    """What is billed for calls that were answered with an error status. `unbilled`: nothing. `refusals_unbilled`:
    nothing for 4xx, unknown for 5xx. `processed_billed`: unknown for 400 and 408 too. Absent: what is known of
    `provider`, `unbilled` for an endpoint that a `gpu_hours` commitment pays for, else `refusals_unbilled`.
    """


class PriceSection(Section, frozen=True, kw_only=True):
    """USD per million tokens, as strings so that no digit is lost; at most 1,000,000, with at most nine decimals."""

    input: str
    """Per million input tokens."""
    output: str
    """Per million output tokens."""
    cache_read: str | None = None
    """Per million input tokens read from the provider's cache; absent is unknown."""
    cache_write: str | None = None
    """Per million input tokens written to the cache."""
    cache_write_1h: str | None = None
    """Per million input tokens written to the one-hour cache."""
    reasoning: str | None = None
    """Per million reasoning tokens, where they are priced apart from output."""
    per_request: str | None = None
    """Per request, in USD."""
    audio_input: str | None = None
    """Per million input tokens of sound; absent is unknown."""
    audio_output: str | None = None
    """Per million output tokens of sound."""
    image_input: str | None = None
    """Per million input tokens of images; absent: they cost what text costs."""
    image_output: str | None = None
    """Per million output tokens of images."""
    web_search: str | None = None
    """Per search that the provider ran, in USD."""


class PriceRowSection(PriceSection, frozen=True, kw_only=True):
    """A dated price of your own: from a contract, or a dimension that the price book lacks. It wins over the book. A
    row with `service_tier`, `above_input_tokens` or `hours` adds to the row, or to the book's price, without them.
    """

    model: str
    """The model id, as arms write it."""
    provider: str | None = None
    """The provider's id in the price book; this or `endpoint`."""
    endpoint: str | None = None
    """An `[[endpoint]]` by name; this or `provider`."""
    since: str | None = None
    """First day (or moment, ISO 8601) on which it holds; absent: ever."""
    until: str | None = None
    """Day (or moment) from which it holds no more; absent: for good."""
    hours: str | None = None
    """Hours of the day in which it holds, `09:00-12:00`, on clocks of `time_zone`; the request's start decides."""
    time_zone: str = "UTC"
    """IANA name, for `hours` and for days in `since` and `until`."""
    service_tier: str | None = None
    """Holds where the response reports this tier, e.g. `flex`, `priority`, `batch`."""
    above_input_tokens: int | None = None
    """Holds for calls with more input tokens than this, cached ones included."""
    source: str
    """Where it is from: a contract and its date, or an address."""


class CommitmentSection(Section, frozen=True, kw_only=True):
    """What is paid whether it is used or not: a subscription, a token plan, own GPUs. Statements set it against what
    the requests were booked at, and what is left over is a line of its own.
    """

    name: str
    """How statements call it."""
    endpoint: str
    """The `[[endpoint]]` that it pays for."""
    kind: Literal["subscription", "token_plan", "gpu_hours"]
    """`subscription`: a fee. `token_plan`: a fee with `included_tokens`. `gpu_hours`: `gpus` at `usd_per_gpu_hour`."""
    usd_per_month: str | None = None
    """The fee, in USD per calendar month."""
    included_tokens: int | None = None
    """Tokens of a month that a token plan includes. Each is booked at its share of the fee."""
    gpus: int | None = None
    """GPUs that are rented or owned, around the clock."""
    usd_per_gpu_hour: str | None = None
    """What one costs in an hour, in USD."""
    prefill_tokens_per_s: float | None = None
    """Input tokens in a second that all of them together read at full load, as measured."""
    decode_tokens_per_s: float | None = None
    """Output tokens in a second that all of them together write at full load, as measured."""
    load: float = 1.0
    """The part of full load that is expected, 0.0 to 1.0; what a request is booked at grows as it falls."""
    since: str
    """First day on which it is paid."""
    until: str | None = None
    """Day from which it is not."""
    source: str
    """Where it is from: a contract and its date, an invoice."""


EscalationReason = Literal["schema", "tools", "refusal", "truncated", "empty", "check"]


class EscalateSection(Section, frozen=True, kw_only=True):
    """Ask this arm's model first, and another arm's when a cheap check of the answer fails. The arm is tried, judged
    and paid for as one: both calls are its cost. Streamed answers are not checked.
    """

    to: str
    """The `[[arm]]` whose model is asked then, usually today's closed one. Every route that uses this arm must permit
    its endpoint, too.
    """
    on: tuple[EscalationReason, ...] = ("schema", "tools", "refusal", "truncated", "empty")
    """What makes an answer fail: `schema` (not the JSON or schema that the request asked for), `tools` (a call of a
    tool that was not offered, or with broken arguments), `refusal`, `truncated` (cut off at its token limit), `empty`,
    `check` (see below).
    """
    check: Literal["", "number", "label", "json"] = ""
    """With `on = [.., "check"]`: the answer must give a number, exactly one of `labels`, or a JSON object."""
    labels: tuple[str, ...] = ()
    """For `check = "label"`."""
    above_bytes: int | None = None
    """Requests with a longer body go straight to the other arm."""
    slices: tuple[str, ...] = ()
    """Slices that go straight to the other arm, by name, e.g. `task=legal`."""
    streams: Literal["first", "straight"] = "first"
    """What streamed requests get, whose answers cannot be checked: this arm's model, or `straight` the other arm's."""


class ArmSection(Section, frozen=True, kw_only=True):
    """Model + endpoint + adaptation. Change one and it is another arm."""

    name: str
    """How routes refer to it, and what verdicts name."""
    endpoint: str
    """An `[[endpoint]]` by name."""
    model: str
    """The model id that the endpoint expects."""
    weights: Weights | None = None
    """Whether the weights are published."""
    terms: str | None = None
    """Licence: an SPDX id, or the id of a licence text. Anything not recognised is reported as `unclear`."""
    family: str | None = None
    """Who made the model, e.g. `qwen`, where its name does not begin with it. A panel of judges needs two families."""
    price: PriceSection | None = None
    """Overrides the price book; see `[arm.price]`."""
    tuned_on: Literal["a"] | None = None
    """`a`: its prompt was written while looking at split A of the traffic (`weighbridge trial split`). Trials then take
    split B only, and the evidence says so.
    """
    system_prompt_file: str | None = None
    """Replaces the request's system prompt for this arm. A declared edit, recorded with every attempt."""
    budget: str | None = None
    """A `[[budget]]` that everything sent to this arm is charged to, whatever its purpose."""
    retires_on: str | None = None
    """The day on which the provider withdraws it, `2026-12-31`. From 180 days before, `weighbridge ramp proposals` and
    an alert propose trials of what could take over.
    """
    escalate: EscalateSection | None = None
    """Makes it *this model first, another when a check fails*; see `[arm.escalate]`."""


class RouteSection(Section, frozen=True, kw_only=True):
    """The model name an application calls, mapped to arms."""

    name: str
    """The model name that applications send."""
    incumbent: str
    """The `[[arm]]` in use today. Its endpoint is permitted by being the incumbent's."""
    aliases: tuple[str, ...] = ()
    """More model names that lead here, so that changing the base URL is enough."""
    candidates: tuple[str, ...] = ()
    """Arms that a trial may try, and that a ramp may move traffic to once a verdict allows it."""
    embeddings: bool | None = None
    """Whether applications get vectors on this route. Then it has no candidates and no fallbacks and never ramps: an
    index with vectors of two models finds the wrong things. Absent: as the incumbent's model is called (`...embed...`,
    `bge-...`, `e5-...`, `gte-...`, `voyage-...`). Embeddings that are asked for on another route stay with its
    incumbent, whatever a ramp moves.
    """
    slice_by: tuple[str, ...] = ()
    """What splits the route's traffic into slices judged on their own: `key`, `system_prompt`, `tools`, `schema`,
    `tag:NAME` (header `x-weighbridge-tag: NAME=value`).
    """
    allow_regions: tuple[str, ...] = ()
    """Regions that candidates may process this route's prompts in; `["any"]` lifts the bound."""
    allow_retention_days: int | Literal["any"] = 0
    """The longest retention a candidate's endpoint may have."""
    allow_training_on_data: bool | Literal["any"] = False
    """Whether a candidate's endpoint may train on the prompts."""
    max_tokens_default: int | None = None
    """Upper bound of an answer's tokens where the request gives none; used to hold money before a call. Absent: the
    99.5th percentile of the last four weeks where 600 answers say so, else 4,096. More than that is booked as it is.
    """
    fallbacks: tuple[str, ...] = ()
    """Arms that answer instead, in this order, when the chosen one cannot; only those that the route's `allow_*`
    permits. An answer of theirs says `x-weighbridge-fallback: yes`.
    """
    retries_max: int = 1
    """Attempts after the first, 0 to 10, all before the first byte of an answer. All of a gateway's together stay
    within a fifth of its requests.
    """
    retry_on: tuple[str, ...] = ("connect", "429", "5xx")
    """Failures after which another attempt is made: no connection, too many requests (`retry-after` is kept), a
    server's error.
    """
    retry_ambiguous: bool = False
    """Also try again when a request was sent and no whole answer came. The provider may have done the work, and bill it
    twice.
    """
    retry_wait_s_max: float = 2.0
    """The longest wait before the same arm is asked again, in seconds; a provider that asks for more is not."""
    hedge_after_s: float | None = None
    """Ask a second time, beside an attempt that has sent nothing for so many seconds, and cancel whichever begins to
    answer later: at the next fallback whose endpoint is another one, else at the same arm. Both are billed. Within the
    same fifth of all requests as retries. Absent: never.
    """
    budget: str | None = None
    """A `[[budget]]` that everything users send to this route is charged to, besides those of its key."""
    staff_hours: int | None = None
    """Hours of your people that moving this route takes in its first year, labelling and looking after own hosts
    included, as you estimate them. The report takes them off the saving, at `usd_per_staff_hour`. Absent: they are in
    no figure, and the page says so.
    """
    usd_per_staff_hour: str | None = None
    """What one of those hours costs, in USD."""


class GraderSection(Section, frozen=True, kw_only=True):
    """How the answers of a slice are graded. A slice without one stays undecided."""

    route: str
    """A `[[route]]` by name."""
    kind: str
    """How an answer becomes a score between 0 and 1. `exact`, `normalised`, `number`, `regex`, `label`, `json`,
    `tool_call`, `sql`, `code`, `similarity`, `judge`, `rubric` or `python:module:function`.
    """
    slice: str = "*"
    """The slice it grades, or `*`."""
    extract: str = "text"
    """What of the answer is graded: `text`, `json:PATH` (in the last JSON object of the text), `last_number`,
    `regex:PATTERN`.
    """
    reference: Literal["gold", "incumbent", "none"] = "gold"
    """What it is compared with: `gold` answers, the `incumbent`'s answer (agreement: it never certifies), or `none`."""
    tolerance: float | None = None
    """For `number`: the absolute difference that still counts as equal."""
    labels: tuple[str, ...] = ()
    """For `label`: the closed set."""
    pattern: str | None = None
    """For `regex`: what the answer must match."""
    schema: str | None = None
    """For `json`: a JSON Schema file that the answer must satisfy."""
    fields: tuple[str, ...] = ()
    """For `json`: fields compared one by one; the score is the share that is equal."""
    critical: bool = False
    """A score of 0 counts as a critical failure."""
    setup: str | None = None
    """For `sql`: a file of SQL that makes the tables which answer and reference are run on."""
    tests: str | None = None
    """For `code`: a file of tests for every answer, Python or a JSON list of `{"stdin", "stdout"}`; without it, gold
    answers are tests."""
    judges: tuple[str, ...] = ()
    """For `judge` and `rubric`: two arms or more, of two model families at least. They answer through the gateway, as
    purpose `judge`, where the route's `allow_*` permit their endpoints."""
    rubric: str | None = None
    """For `rubric`: a file with one criterion a line, each met or not. For `judge`: what counts, in a few sentences."""
    cpu_s_max: int | None = None
    """For `code`: seconds of CPU one run may use, 1 to 600; 10 where absent."""
    memory_bytes_max: int | None = None
    """For `code`: bytes of memory one run may use; 512 MiB where absent."""
    time_s_max: float | None = None
    """For `python`: seconds one call may take, up to 3600; 60 where absent. An answer that takes longer is not judged,
    and its slice stays undecided."""


class RampSection(Section, frozen=True, kw_only=True):
    """How a candidate's traffic grows. Fixed into a ramp's plan when it is proposed; a later edit is for the next ramp.

    Tables by stage take the stages `shadow`, `canary`, `few`, `quarter`, `half` and `all`.
    """

    route: str = "*"
    """A `[[route]]` by name, or `*` for those without a table of their own."""
    shares: dict[str, float] = {}
    """Percent of the route's conversations by stage, growing to 100; default 1 in `canary`, 5 in `few`, 25, 50, 100."""
    hold_s: dict[str, float] = {}
    """Seconds that a stage lasts at least; default an hour, a day for `half` and `all`."""
    conversations_min: dict[str, int] = {}
    """Conversations on the candidate before a stage may be left upwards; default 100, 50 in `shadow`, 500 in `half` and
    `all`.
    """
    pairs_min: dict[str, int] = {}
    """Judged pairs (or answers, see `quality`) before a stage may be left upwards; default 20. Without a grader for the
    route nothing can be judged: set 0 for each stage, and quality is not watched.
    """
    alpha: float = 0.05
    """The chance of any false rollback over the whole ramp, all streams together."""
    margin: float | None = None
    """How much worse the candidate may be on average, in score; default the verdict's."""
    guardrails: tuple[str, ...] = ()
    """What is watched beside quality: `errors`, `refusals`, `broken`, `schema`, `tools`, `outcomes` (told by `POST
    /v1/feedback` or `weighbridge outcomes import`), `first_byte`, `latency`, `cost`, `tokens`, `turns`. Default: all
    but `outcomes`, and without `schema` and `tools` where bodies are not captured.
    """
    events_planned: int = 1000
    """Bad events of one guardrail, on both arms, over the whole ramp. Past it the ramp is watched less sharply."""
    slow_planned: int = 3000
    """The same for guardrails that count what lies above the incumbent's 90th percentile."""
    pairs_planned: int = 2000
    """Judged pairs over the whole ramp."""
    quality: Literal["pairs", "answers"] = "answers"
    """`pairs`: both arms answer the same request (costs a copy, see `pair_share`). `answers`: each its own requests."""
    ratio: float = 1.0
    """How many times the incumbent's rate of bad events is allowed."""
    shadow_share: float = 1.0
    """Percent of requests of which a copy goes to the candidate, where its answer reaches nobody."""
    pair_share: float = 1.0
    """With `quality = "pairs"`: percent of requests that the other arm is asked as well."""
    copies_usd: str | None = None
    """What all copies of a ramp may cost, US dollars as a string; absent: no limit."""
    approvals: int = 1
    """How many people approve each step; with 2 or more, none of them is who proposed it."""
    stick_by: Literal["conversation", "user", "key"] = "conversation"
    """What keeps its arm."""
    streams_on_rollback: Literal["finish", "cut"] = "finish"
    """What becomes of streams that the candidate is in the middle of when a ramp goes back: they go on to their end, or
    are cut with an error that clients can tell (`ramp_rolled_back`). Answers that are not streamed always finish.
    """
    verdict_days: float = 30.0
    """A verdict older than this allows no further step."""
    candidate_per_minute: int | None = None
    """Requests a minute that the candidate's endpoint takes; absent is unknown, and holds until somebody accepts it."""
    incumbent_per_minute: int | None = None
    """The same of the incumbent's: the way back."""


class ApproverSection(Section, frozen=True, kw_only=True):
    """Somebody who may approve ramps. Without any, whoever may use the store's socket is named by their login."""

    name: str
    """As the record names them."""
    token: str
    """What they prove it with, `env:NAME` or `file:PATH`."""


class AlertsSection(Section, frozen=True, kw_only=True):
    """Whom to tell of what `weighbridge alerts --kinds` lists. It is also in the log and in `weighbridge alerts`."""

    webhook: str | None = None
    """A URL that gets a JSON object by POST; `env:NAME` or `file:PATH` where it holds a secret."""
    email_to: tuple[str, ...] = ()
    """Addresses."""
    email_from: str = "weighbridge@localhost"
    """The sender."""
    smtp: str = "127.0.0.1:25"
    """The mail server, HOST:PORT."""
    runbooks: str | None = None
    """Where the documentation's folder `runbooks` is served, so that each alert carries a link that opens."""


class OidcSection(Section, frozen=True, kw_only=True):
    """Sign-in at an OpenID provider (authorization code with PKCE), beside users with passwords. Role and teams are
    those of the provider's groups, looked at again at each sign-in.
    """

    issuer: str
    """Exactly as the provider calls itself, e.g. `https://login.example.com/realms/main`. Its host may be private: it
    stands here. Other hosts that it names are called over TLS and at public addresses only.
    """
    client_id: str
    """As registered there; the redirect address is `admin.url` and `/sign-in/oidc/callback`."""
    client_secret: str
    """`env:NAME` or `file:PATH`."""
    roles: dict[str, Role]
    """Group -> role: viewer, labeller, operator, approver or admin. The highest of a person's counts; without any they
    are not let in.
    """
    teams: dict[str, str] = {}
    """Group -> `[[team]]`, whose things they see. Without this table everybody sees every team's."""
    every_team: tuple[str, ...] = ()
    """Groups that see every team's things, where `teams` says something."""
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    """Asked for; many providers send groups only with another one."""
    groups_claim: str = "groups"
    """The claim of the ID token that lists groups."""
    name_claim: str = "preferred_username"
    """The claim that people are named by here."""


class AdminSection(Section, frozen=True, kw_only=True):
    """People's way in: dashboard and admin API on `server.admin_listen` ([admin] extra). Users are made with
    `weighbridge user create`.
    """

    url: str | None = None
    """Where people reach it through a proxy that speaks TLS, e.g. `https://weighbridge.example.com`: its host is
    accepted, and cookies are sent over TLS only.
    """
    hosts: tuple[str, ...] = ()
    """More names under which it may be asked for, `NAME` or `NAME:PORT`. Requests for other names are refused: they can
    be pages elsewhere that had a name point here.
    """
    idle_minutes: int = 60
    """A session ends when nothing was asked in it for so long."""
    session_hours: int = 12
    """A session ends so long after it began."""
    oidc: OidcSection | None = None
    """See `[admin.oidc]`."""


class TeamSection(Section, frozen=True, kw_only=True):
    """Who keys belong to."""

    name: str
    """How keys refer to it; bodies are encrypted with a key per team and day."""
    budget: str | None = None
    """A `[[budget]]` by name, for those of its keys that name none."""


class KeySection(Section, frozen=True, kw_only=True):
    """What an application authenticates with."""

    name: str
    """Shown in exchanges and reports instead of the secret."""
    secret: str
    """What applications send, `env:NAME` or `file:PATH`; only a digest is stored."""
    team: str | None = None
    """A `[[team]]` by name."""
    routes: tuple[str, ...] = ("*",)
    """Routes it may use; `["*"]` is every route."""
    budget: str | None = None
    """A `[[budget]]` by name."""
    requests_per_minute: int | None = None
    """Over all workers of the machine; what is over gets 429 with `retry-after`. Absent: no limit."""
    tokens_per_minute: int | None = None
    """Input and output. Taken before a call by size and `max_tokens`, settled after it by what the provider counted."""


class BudgetSection(Section, frozen=True, kw_only=True):
    """A cap on spending over a window: of keys, teams, routes, arms or purposes, each by naming it. A budget over a
    minute or an hour is a limit on the rate of spending.
    """

    name: str
    """How keys and other budgets refer to it."""
    limit_usd: str
    """The cap over one window, in USD as a string."""
    parent: str | None = None
    """A budget that contains this one."""
    window: WindowKind = "month"
    """When the cap starts anew."""
    time_zone: str = "UTC"
    """IANA name; where a day, week, month or year begins. Minutes and hours are those of UTC."""
    hard: bool = False
    """Refuse what might exceed it, over all workers exactly. `false` counts and alerts only."""
    on_ledger_loss: FailMode = "closed"
    """What happens to a request under a hard budget when the ledger cannot be asked and the lease in hand does not
    cover it: `closed` refuses it, `open` lets it through and books it later.
    """
    per_user_usd: str | None = None
    """A cap for each end user, by the request's `user` field, over the same window. Requests without one share one."""
    purposes: tuple[BudgetPurpose, ...] = ()
    """Everything sent for these purposes is charged here, e.g. `["trial", "judge"]`; keys and routes are charged for
    what users send only.
    """


Band = float | tuple[str | float, str | float]


class RevenueSection(Section, frozen=True, kw_only=True):
    """USD, each a figure or a band `["0", "20000000"]`. What is absent is unknown, never 0."""

    product_month: Band | None = None
    """Revenue of the product per month."""
    product_year: Band | None = None
    """Revenue of the product per year."""
    product_recurring_year: Band | None = None
    """Recurring revenue of the product per year."""
    entity_year: Band | None = None
    """Revenue of the legal entity per year."""
    group_12_months: Band | None = None
    """Revenue of the licensee and its affiliates together over the last 12 months."""
    consolidated_month: Band | None = None
    """Consolidated revenue per month."""
    employer_consolidated_month: Band | None = None
    """Consolidated revenue per month of the employer, for personal use at work."""


class UsersSection(Section, frozen=True, kw_only=True):
    """Figures or bands. What is absent is unknown, never 0."""

    product: Band | None = None
    """Monthly active users of the product."""
    all_products: Band | None = None
    """Monthly active users of all products of the group."""
    all_products_on: dict[str, Band] = {}
    """The same on past days, `{ "2025-04-05" = 0 }`: some licences ask about one date."""


class UseSection(Section, frozen=True, kw_only=True):
    """How the model is used, as licences tell it apart."""

    via: Literal["self_hosted", "licensor_api", "certified_partner", "third_party_product"] | None = None
    """How the model is reached."""
    businesses: tuple[str, ...] | None = None
    """What the group also does, e.g. `model_service`, `ai_work_assistant`, `competes_with:LICENSOR`; `[]` is nothing of
    that kind, absent is unknown.
    """
    publishes_derivatives: bool | None = None
    """Whether fine-tuned or merged weights are published."""
    trained_on_outputs_of: tuple[str, ...] = ()
    """Models whose outputs were used for training, or `hosted:PROVIDER`; their terms are checked along."""


class OrganizationSection(Section, frozen=True, kw_only=True):
    """The organisation as licences see it. What is absent is unknown."""

    roles: tuple[str, ...] = ()
    """What this use is; one or more of the roles a licence may tell apart."""
    commercial: bool | None = None
    """Whether the use is commercial."""
    established_in: tuple[str, ...] = ()
    """Countries the organisation is established in, ISO codes."""
    users_in: tuple[str, ...] = ()
    """Countries the users are in, ISO codes."""
    revenue_usd: RevenueSection = RevenueSection()
    """See `[organization.revenue_usd]`."""
    users_monthly: UsersSection = UsersSection()
    """See `[organization.users_monthly]`."""
    use: UseSection = UseSection()
    """See `[organization.use]`."""


class LimitsSection(Limits, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every body, queue and wait of a gateway worker has a limit: `_bytes_` in bytes, at most 1 GiB; `_s_` in seconds,
    at most a day; `_connections_` at most 1,000,000.
    """


class TracesSection(Section, frozen=True, kw_only=True):
    """OpenTelemetry traces, exported beside the gateway from its log ([otel] extra). No prompt or answer is in them."""

    otlp: str
    """URL that takes OTLP over HTTP, e.g. `http://127.0.0.1:4318/v1/traces`."""
    headers: str | None = None
    """Headers for it, `name=value,name=value`, as a reference: `env:NAME` or `file:PATH`."""
    service: str = "weighbridge"
    """`service.name` of the spans."""


class Config(Section, frozen=True, kw_only=True):
    """The whole file."""

    server: Server = Server()
    """See `[server]`."""
    store: Store = Store()
    """See `[store]`."""
    capture: CaptureSection = CaptureSection()
    """See `[capture]`."""
    limits: LimitsSection = LimitsSection()
    """See `[limits]`."""
    endpoint: tuple[EndpointSection, ...] = ()
    arm: tuple[ArmSection, ...] = ()
    route: tuple[RouteSection, ...] = ()
    grader: tuple[GraderSection, ...] = ()
    ramp: tuple[RampSection, ...] = ()
    approver: tuple[ApproverSection, ...] = ()
    alerts: AlertsSection = AlertsSection()
    """See `[alerts]`."""
    admin: AdminSection = AdminSection()
    """See `[admin]`."""
    team: tuple[TeamSection, ...] = ()
    key: tuple[KeySection, ...] = ()
    budget: tuple[BudgetSection, ...] = ()
    price: tuple[PriceRowSection, ...] = ()
    commitment: tuple[CommitmentSection, ...] = ()
    traces: TracesSection | None = None
    """See `[traces]`."""
    organization: OrganizationSection = OrganizationSection()
