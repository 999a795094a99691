"""Azure OpenAI, Bedrock and Vertex: their addresses and authentication, checked as those hosts check them."""

import datetime
import json
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import anthropic
import msgspec
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.fakes.provider import FakeProvider, Script, Seen
from tests.gateway.running import KEY, Running, call, chat, table
from weighbridge.records.frames import Attempted
from weighbridge.records.table import Endpoint, RouteTable
from weighbridge.upstream.proof import Token, TokenProof

ACCESS, SECRET_KEY, SESSION = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "a-session-token"
REGION = "eu-central-1"


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


def endpoint(provider: FakeProvider, dialect: Any, prefix: str = "", **more: Any) -> Endpoint:
    url = f"http://127.0.0.1:{provider.port}{prefix}"
    return Endpoint(name="fake", dialect=dialect, base_url=url, loopback=True, address_is_own=True, **more)


# --- Azure ------------------------------------------------------------------------------------------------------------


def test_azure_with_a_dated_version_names_the_deployment_in_the_url(tmp_path: Path, provider: FakeProvider) -> None:
    azure = endpoint(provider, "azure", api_key="env:KEY", api_version="2024-10-21")
    with Running(tmp_path, table("", endpoints=[azure])) as gateway:
        answer = call(gateway.port, chat())
        assert (200, True) == (answer.status, "x-weighbridge-cost-nanousd" in answer.headers)
    (seen,) = provider.seen
    assert "/openai/deployments/model-a/chat/completions?api-version=2024-10-21" == seen.path
    assert ("upstream-secret", None) == (seen.header("api-key"), seen.header("authorization"))


def test_azure_without_a_version_speaks_its_v1_api(tmp_path: Path, provider: FakeProvider) -> None:
    with Running(tmp_path, table("", endpoints=[endpoint(provider, "azure", api_key="env:KEY")])) as gateway:
        assert call(gateway.port, chat(stream=True)).body.endswith(b"data: [DONE]\n\n")
        (posted,) = gateway.posted()
        assert posted.usage is not None
    assert "/openai/v1/chat/completions" == provider.seen[0].path


def test_a_token_of_entra_id_is_read_again_when_its_file_changes(tmp_path: Path, provider: FakeProvider) -> None:
    file, now = tmp_path / "token", [1000.0]
    file.write_text("first")
    azure = endpoint(provider, "azure", token=f"file:{file}")

    from weighbridge.upstream import proof

    real = proof.read_again
    made: list[TokenProof] = []

    def read_again(secret: Any, reference: str) -> TokenProof:
        made.append(real(secret, reference, lambda: now[0]))
        return made[0]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(proof, "read_again", read_again)
        secret = lambda reference: Path(reference[5:]).read_text()  # noqa: E731 (one value, as a worker has it)
        with Running(tmp_path / "store", table("", endpoints=[azure]), secret=secret) as gateway:
            for _ in range(2):
                assert 200 == call(gateway.port, chat()).status
            file.write_text("second")
            now[0] += 31
            assert 200 == call(gateway.port, chat()).status
            file.unlink()
            now[0] += 31
            refused = call(gateway.port, chat())
    assert ["Bearer first", "Bearer first", "Bearer second"] == [row.header("authorization") for row in provider.seen]
    assert (502, "upstream_unreachable") == (refused.status, refused.error["code"])
    assert "no access token could be had" in refused.error["message"]


# --- Bedrock ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_SESSION_TOKEN", SESSION)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def signature_is_right(seen: Seen, host: str) -> bool:
    """As the host does it: sign what came in with the key that the access key names, and compare."""
    given = seen.header("authorization") or ""
    found = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/bedrock/aws4_request, SignedHeaders=([^,]+), "
        r"Signature=([0-9a-f]{64})",
        given,
    )
    if found is None or found[1] != ACCESS:
        return False
    signed = {name: seen.header(name) or "" for name in found[4].split(";")}
    request = AWSRequest(method="POST", url=f"https://{host}{seen.path}", data=seen.body, headers=signed)
    request.context["timestamp"] = seen.header("x-amz-date")
    auth = SigV4Auth(Credentials(ACCESS, SECRET_KEY, SESSION), "bedrock", found[3])
    canonical = auth.canonical_request(request)
    mine = auth.signature(auth.string_to_sign(request, canonical), request)
    body_is_signed = sha256(seen.body).hexdigest() in canonical
    return bool(mine == found[5] and body_is_signed and {"host", "x-amz-date"} <= set(signed))


def test_bedrock_requests_are_signed_with_their_body(tmp_path: Path, provider: FakeProvider, aws: None) -> None:
    bedrock = endpoint(provider, "bedrock", signing_region=REGION)
    with Running(tmp_path, table("", endpoints=[bedrock])) as gateway:
        for text in ("one", "two"):
            answer = call(gateway.port, chat(text=text))
            assert (200, True) == (answer.status, "x-weighbridge-cost-nanousd" in answer.headers)
        assert call(gateway.port, chat(text="three", stream=True)).whole
    host = f"127.0.0.1:{provider.port}"
    assert 3 == len(provider.seen)
    for seen in provider.seen:
        assert "/openai/v1/chat/completions" == seen.path
        assert SESSION == seen.header("x-amz-security-token")
        assert signature_is_right(seen, host)
        assert not signature_is_right(Seen("POST", seen.path, seen.headers, seen.body + b" ", 1), host)
        assert not signature_is_right(Seen("POST", "/model/x/invoke", seen.headers, seen.body, 1), host)


@pytest.mark.parametrize(
    ("speaks", "path"), [("anthropic", "/anthropic/v1/messages"), ("openai-responses", "/openai/v1/responses")]
)
@pytest.mark.parametrize("stream", [False, True])
def test_the_other_apis_of_bedrock_are_signed_translated_and_metered_alike(
    tmp_path: Path, provider: FakeProvider, aws: None, speaks: Any, path: str, stream: bool
) -> None:
    bedrock = endpoint(provider, "bedrock", signing_region=REGION, speaks=speaks)
    with Running(tmp_path, table("", endpoints=[bedrock])) as gateway:
        answer = call(gateway.port, chat(stream=stream))  # a client of chat completions
        assert (200, True) == (answer.status, b"Hello" in answer.body)
        (posted,) = gateway.posted()
        (charge,) = provider.bill
        assert posted.usage is not None
        assert (charge.prompt_tokens, charge.completion_tokens) == (posted.usage.input, posted.usage.output)
    (seen,) = provider.seen
    assert path == seen.path
    assert signature_is_right(seen, f"127.0.0.1:{provider.port}")
    assert (speaks == "anthropic") == (seen.header("anthropic-version") is not None)


def test_claude_at_azure_is_called_with_azures_key(tmp_path: Path, provider: FakeProvider) -> None:
    azure = endpoint(provider, "azure", api_key="env:KEY", speaks="anthropic")
    with Running(tmp_path, table("", endpoints=[azure])) as gateway:
        assert 200 == call(gateway.port, chat()).status
    (seen,) = provider.seen
    assert ("/anthropic/v1/messages", "upstream-secret") == (seen.path, seen.header("api-key"))


def test_a_bedrock_api_key_is_sent_as_it_is(tmp_path: Path, provider: FakeProvider) -> None:
    with Running(tmp_path, table("", endpoints=[endpoint(provider, "bedrock", api_key="env:KEY")])) as gateway:
        assert 200 == call(gateway.port, chat()).status
    assert "Bearer upstream-secret" == provider.seen[0].header("authorization")


def test_without_credentials_bedrock_says_what_to_set_and_nothing_is_sent(
    tmp_path: Path, provider: FakeProvider, aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    bedrock = endpoint(provider, "bedrock", signing_region="us-east-1")
    with Running(tmp_path, table("", endpoints=[bedrock])) as gateway:
        answer = call(gateway.port, chat())
    assert 502 == answer.status
    assert "AWS_ACCESS_KEY_ID" in answer.error["message"]
    assert [] == provider.seen


def test_a_host_that_names_no_region_is_said(tmp_path: Path, provider: FakeProvider) -> None:
    with Running(tmp_path, table("", endpoints=[endpoint(provider, "bedrock")])) as gateway:
        answer = call(gateway.port, chat())
    assert 503 == answer.status
    assert "signing_region" in answer.error["message"]


# --- Vertex -----------------------------------------------------------------------------------------------------------


class TokenServer(FakeProvider):
    """Beside models, Google's token endpoint: checks the signed assertion of a service account."""

    public: rsa.RSAPublicKey

    async def _one(self, reader: Any, writer: Any, number: int) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(re.search(r"(?i)content-length: (\d+)", head)[1])  # type: ignore[index]
        body = await reader.readexactly(length)
        if not head.startswith("POST /token "):
            reader.feed_data(head.encode() + body)
            return await super()._one(reader, writer, number)
        self.asked = getattr(self, "asked", 0) + 1
        from google.auth import jwt

        assertion = re.search(rb"assertion=([^&]+)", body)[1].decode()  # type: ignore[index]
        pem = self.public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        decode: Any = jwt.decode
        claims = decode(assertion, certs=pem, audience="https://oauth2.googleapis.com/token")
        good = claims["iss"] == "robot@project.iam.gserviceaccount.com" and "cloud-platform" in claims["scope"]
        token = {"access_token": f"ya29.token-{self.asked}", "expires_in": 3600, "token_type": "Bearer"}
        await self._send(writer, 200 if good else 401, [], json.dumps(token).encode())
        return True


def test_vertex_gets_an_access_token_for_a_service_account_and_keeps_it(tmp_path: Path) -> None:
    private = rsa.generate_private_key(65537, 2048)
    with TokenServer() as provider:
        provider.public = private.public_key()
        file = tmp_path / "robot.json"
        pem = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        account = {
            "type": "service_account", "project_id": "project", "private_key_id": "k", "private_key": pem.decode(),
            "client_email": "robot@project.iam.gserviceaccount.com", "client_id": "1",
            "token_uri": f"http://127.0.0.1:{provider.port}/token",
        }  # fmt: skip
        file.write_text(json.dumps(account))
        prefix = "/v1/projects/project/locations/europe-west4"
        vertex = endpoint(provider, "vertex", prefix, credentials=str(file))
        provider.answers["model-a"] = Script(text="from Vertex")
        with Running(tmp_path / "store", table("", endpoints=[vertex])) as gateway:
            answers = [call(gateway.port, chat()) for _ in range(3)]
            gateway.use(table("", number=2, endpoints=[vertex]))
            answers.append(call(gateway.port, chat()))
            assert [200] * 4 == [answer.status for answer in answers]
        assert [f"{prefix}/endpoints/openapi/chat/completions"] * 4 == [row.path for row in provider.seen]
        assert ["Bearer ya29.token-1"] * 4 == [row.header("authorization") for row in provider.seen]
        assert 1 == provider.asked


def test_a_file_that_is_no_credential_is_said_without_its_content(tmp_path: Path, provider: FakeProvider) -> None:
    file = tmp_path / "robot.json"
    file.write_text('{"type": "service_account", "private_key": "canary-key"}')
    vertex = endpoint(provider, "vertex", credentials=str(file))
    with Running(tmp_path / "store", table("", endpoints=[vertex])) as gateway:
        answer = call(gateway.port, chat())
    assert 502 == answer.status
    assert "canary-key" not in answer.body.decode()
    assert [] == provider.seen


CLAUDE = "claude-sonnet-4-5@20250929"
PROJECT = "/v1/projects/p/locations/eu"
WEATHER = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}


def at_vertex(provider: FakeProvider, folder: Path) -> RouteTable:
    (folder / "token").write_text("ya29.token")
    vertex = endpoint(provider, "vertex", PROJECT, speaks="anthropic", token=f"file:{folder / 'token'}")
    made = table("", endpoints=[vertex])
    return msgspec.structs.replace(made, arms=tuple(msgspec.structs.replace(arm, model=CLAUDE) for arm in made.arms))


def file_of(reference: str) -> str:
    return Path(reference.removeprefix("file:")).read_text()


def test_claude_at_vertex_is_called_as_its_makers_own_client_calls_it(tmp_path: Path, provider: FakeProvider) -> None:
    """Path, body and betas of each call beside those of Anthropic's client for Vertex."""
    asked: Any = {
        "max_tokens": 50, "tools": [WEATHER], "messages": [{"role": "user", "content": "Wetter in Köln?"}],
        "system": [{"type": "text", "text": "Rules. " * 50, "cache_control": {"type": "ephemeral"}}],
    }  # fmt: skip
    counted = {name: value for name, value in asked.items() if name != "max_tokens"}
    betas = {"anthropic-beta": "context-1m-2025-08-07"}
    with Running(tmp_path / "store", at_vertex(provider, tmp_path), secret=file_of) as gateway:
        url = f"http://127.0.0.1:{gateway.port}"
        ours = anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0)
        theirs = anthropic.AnthropicVertex(
            base_url=provider.url, region="eu", project_id="p", access_token="ya29.token", max_retries=0
        )
        for client, model in ((ours, "assistant"), (theirs, CLAUDE)):
            said = client.messages.create(model=model, **asked, extra_headers=betas)
            assert ("Hello from the fake.", CLAUDE) == (said.content[0].text, said.model)
            with client.messages.stream(model=model, **asked) as stream:
                assert "Hello from the fake." == stream.get_final_text()
            assert 0 < client.messages.count_tokens(model=model, **counted).input_tokens
        charges = [(row.tokens.input, row.tokens.output) for row in provider.bill]
        posted = [row.usage for row in gateway.posted()][:2]
    assert charges[:2] == [(usage.input, usage.output) for usage in posted if usage is not None]
    own, makers = provider.seen[:3], provider.seen[3:]
    assert [row.path for row in makers] == [row.path for row in own]
    assert [json.loads(row.body) for row in makers] == [json.loads(row.body) for row in own]
    for name in ("authorization", "anthropic-beta"):
        assert [row.header(name) for row in makers] == [row.header(name) for row in own]
    assert f"{PROJECT}/publishers/anthropic/models/{CLAUDE}:streamRawPredict" == own[1].path


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_client_reaches_claude_at_vertex_translated_and_metered(
    tmp_path: Path, provider: FakeProvider, stream: bool
) -> None:
    with Running(tmp_path / "store", at_vertex(provider, tmp_path), secret=file_of) as gateway:
        answer = call(gateway.port, chat(stream=stream))
        assert (200, True) == (answer.status, b"Hello" in answer.body)
        (posted,) = gateway.posted()
        (attempt,) = [row for row in gateway.frames() if isinstance(row, Attempted)]
    assert posted.usage is not None
    assert provider.bill[0].prompt_tokens == posted.usage.input
    assert {"model", "dialect", "anthropic_version"} <= set(attempt.edits)
    assert "vertex-2023-10-16" == json.loads(provider.seen[0].body)["anthropic_version"]
    assert provider.seen[0].path.endswith(":streamRawPredict" if stream else ":rawPredict")


def test_what_claude_at_vertex_has_no_path_for_is_refused_before_anything_is_sent(
    tmp_path: Path, provider: FakeProvider
) -> None:
    with Running(tmp_path / "store", at_vertex(provider, tmp_path), secret=file_of) as gateway:
        for path in ("/v1/files", "/v1/messages/batches", "/v1/embeddings"):
            answer = call(gateway.port, b'{"model":"assistant","input":"x"}', path=path)
            assert (400, "not_carried") == (answer.status, answer.headers["x-weighbridge-error"])
    assert [] == provider.seen


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_a_token_is_renewed_before_its_end_while_requests_go_on() -> None:
    import asyncio

    now, fetched = [0.0], []

    def fetch() -> Token:
        fetched.append(now[0])
        if len(fetched) == 2:
            raise OSError("not now")
        return Token(f"t{len(fetched)}", now[0] + 3600)

    async def live() -> list[bytes]:
        proof = TokenProof(fetch, lambda: now[0])
        await asyncio.gather(proof.prepare(), proof.prepare())  # one fetch for both
        seen = [proof.lines(b"/", b"")]
        for step in (3000, 301, 11, 0):
            now[0] += step
            seen.append(proof.lines(b"/", b""))
            if proof._renewing is not None:
                await asyncio.wait([proof._renewing])
        return seen

    assert [b"t1", b"t1", b"t1", b"t1", b"t3"] == [line.strip().split()[-1] for line in asyncio.run(live())]
    assert [0.0, 3301.0, 3312.0] == fetched


def test_a_worker_loads_no_cloud_library_for_an_endpoint_that_needs_none() -> None:
    import subprocess
    import sys

    program = (
        "import sys; from tests.gateway.running import table; from weighbridge.gateway.lanes import Lanes; "
        "Lanes(table('http://127.0.0.1:1/v1'), lambda _: 'x'); "
        "print([name for name in ('botocore', 'google.auth', 'urllib.request') if name in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert "[]" == ran.stdout.strip()


def test_the_clock_of_a_signature_is_the_machines(tmp_path: Path, provider: FakeProvider, aws: None) -> None:
    bedrock = endpoint(provider, "bedrock", signing_region=REGION)
    with Running(tmp_path, table("", endpoints=[bedrock])) as gateway:
        assert 200 == call(gateway.port, chat()).status
    said = datetime.datetime.strptime(provider.seen[0].header("x-amz-date") or "", "%Y%m%dT%H%M%SZ")
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    assert abs(now - said) < datetime.timedelta(minutes=5)
