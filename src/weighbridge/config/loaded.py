"""A configuration together with where it came from."""

from hashlib import sha256
from pathlib import Path

import msgspec

from weighbridge.config.tree import ArmSection, Config, EndpointSection


class Loaded(msgspec.Struct, frozen=True):
    """A configuration and where it came from; paths in it are relative to `folder`."""

    config: Config
    file: str
    folder: Path

    def path(self, text: str) -> Path:
        return self.folder / Path(text).expanduser()

    @property
    def store_path(self) -> Path:
        return self.path(self.config.store.path)

    def arm(self, name: str) -> ArmSection:
        """An arm that a checked configuration names somewhere."""
        return next(row for row in self.config.arm if row.name == name)

    def endpoint(self, name: str) -> EndpointSection:
        return next(row for row in self.config.endpoint if row.name == name)

    def arm_identity(self, name: str) -> str:
        """What an arm is, whatever it is called: 16 hex digits over model, endpoint, dialect, precision and prompt, and
        over when it escalates and to what.

        Change one and it is another arm. The price is not part of it. Raises `OSError` where the prompt is unreadable.
        """
        arm = self.arm(name)
        endpoint = self.endpoint(arm.endpoint)
        prompt = None if arm.system_prompt_file is None else self.path(arm.system_prompt_file).read_bytes()
        facts: tuple[object, ...] = (
            arm.model, endpoint.name, endpoint.dialect, endpoint.base_url, endpoint.precision, prompt,
        )  # fmt: skip
        if arm.escalate is not None:
            # By its parts, so that an arm without any is what it always was.
            facts = (*facts, msgspec.structs.astuple(arm.escalate)[1:], self.arm_identity(arm.escalate.to))
        return sha256(repr(facts).encode()).hexdigest()[:16]
