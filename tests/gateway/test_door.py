"""The listening end of a worker: TLS contexts change while clients come in, and nobody holds a handshake open."""

import asyncio
import ssl
from pathlib import Path
from typing import cast

import pytest
import uvloop

from tests.upstream.tls import Authority
from weighbridge.gateway import door
from weighbridge.gateway.door import Door, listener
from weighbridge.upstream.tls import towards_clients

CLIENTS, ROUNDS = 8, 40


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


def server_context(authority: Authority) -> ssl.SSLContext:
    certificate, key = authority.issue("gateway")
    return towards_clients(str(certificate), str(key), None)


def test_no_connection_is_lost_while_certificates_are_renewed(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    trusting = ssl.create_default_context(cafile=str(authority.file))

    bound = listener("127.0.0.1", 0)

    async def live() -> int:
        it = Door(asyncio.get_running_loop(), bound, Echo)
        await it.open(server_context(authority))
        host, _, port = it.address.rpartition(":")
        long_reader, long_writer = await asyncio.open_connection(host, int(port), ssl=trusting)
        over = asyncio.Event()

        async def client() -> int:
            asked = 0
            while not over.is_set():
                reader, writer = await asyncio.open_connection(host, int(port), ssl=trusting)
                writer.write(b"hello")
                assert b"hello" == await reader.readexactly(5)
                writer.close()
                asked += 1
            return asked

        clients = [asyncio.create_task(client()) for _ in range(CLIENTS)]
        for _ in range(ROUNDS):
            await it.open(server_context(authority))
            await asyncio.sleep(0.01)
        over.set()
        asked = await asyncio.gather(*clients)
        long_writer.write(b"still here")
        assert b"still here" == await long_reader.readexactly(10)
        long_writer.close()
        it.close()
        with pytest.raises(OSError, match="onnect"):
            await asyncio.open_connection(host, int(port))
        return sum(asked)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(live()) > CLIENTS


def test_a_client_that_never_shakes_hands_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "HANDSHAKE_S_MAX", 0.2)
    authority = Authority(tmp_path)

    bound = listener("127.0.0.1", 0)

    async def live() -> bytes:
        it = Door(asyncio.get_running_loop(), bound, Echo)
        await it.open(server_context(authority))
        host, _, port = it.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            return await asyncio.wait_for(reader.read(), 30)
        finally:
            writer.close()
            it.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert b"" == runner.run(live())


@pytest.mark.parametrize(
    ("broken", "says"),
    [("certificate", "tls_cert"), ("key", "tls_cert"), ("client_ca", "tls_client_ca"), ("encrypted", "encrypted")],
)
def test_files_that_cannot_be_used_are_named(tmp_path: Path, broken: str, says: str) -> None:
    from cryptography.hazmat.primitives import serialization

    authority = Authority(tmp_path)
    certificate, key = authority.issue("gateway")
    client_ca = tmp_path / "missing.pem" if broken == "client_ca" else authority.file
    if broken == "certificate":
        certificate.write_text("no certificate")
    if broken == "key":
        key.write_text("no key")
    if broken == "encrypted":
        private = serialization.load_pem_private_key(key.read_bytes(), None)
        secret = serialization.BestAvailableEncryption(b"secret")
        key.write_bytes(private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret))
    with pytest.raises(ValueError, match=says):
        towards_clients(str(certificate), str(key), str(client_ca))
