"""Signatures for AWS (Signature Version 4) through botocore: credentials from its usual chain, renewed by it."""

import asyncio
import time
from typing import Any

from weighbridge.upstream.dialer import Unreachable

SERVICE = "bedrock"
LOOK_S = 30.0
"""How often credentials are looked at; botocore renews them ten minutes and more before their end."""
SENT = ("authorization", "x-amz-date", "x-amz-security-token")


class AwsProof:
    """Signs method, path, host, content type and the digest of the body; an altered prompt is a wrong signature."""

    def __init__(self, host: str, region: str) -> None:
        try:
            import botocore.session
            from botocore.auth import SigV4Auth
            from botocore.awsrequest import AWSRequest
        except ImportError:
            raise ValueError("dialect 'bedrock' needs the extra [aws]: pip install 'weighbridge[aws]'") from None
        self._host, self._region = host, region
        self._session: Any = botocore.session.get_session()
        self._auth_of, self._request_of = SigV4Auth, AWSRequest
        self._frozen: Any = None
        self._looked_s = 0.0

    def ready(self) -> bool:
        return self._frozen is not None and time.monotonic() - self._looked_s < LOOK_S

    async def prepare(self) -> None:
        if not self.ready():
            await asyncio.to_thread(self._look)

    def _look(self) -> None:
        from botocore.exceptions import BotoCoreError

        try:
            found = self._session.get_credentials()
            frozen = None if found is None else found.get_frozen_credentials()  # renews what is about to end
        except BotoCoreError as error:
            raise Unreachable("proof", f"no AWS credentials could be had: {error}") from None
        if frozen is None or not frozen.access_key:
            raise Unreachable(
                "proof",
                "no AWS credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role, "
                "or give the endpoint a Bedrock API key as api_key",
            )
        self._frozen, self._looked_s = frozen, time.monotonic()

    def lines(self, target: bytes, body: bytes) -> bytes:
        request = self._request_of(
            method="POST",
            url=f"https://{self._host}{target.decode()}",
            data=body,
            headers={"host": self._host, "content-type": "application/json"},
        )
        self._auth_of(self._frozen, SERVICE, self._region).add_auth(request)
        return "".join(
            f"{name}: {request.headers[name]}\r\n" for name in SENT if request.headers.get(name) is not None
        ).encode()
