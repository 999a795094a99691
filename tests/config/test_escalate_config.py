"""`[arm.escalate]` that makes no sense is refused with what would; the policy is part of what an arm is."""

from pathlib import Path

import pytest

from tests.keeper.processes import write_config
from weighbridge.config import load
from weighbridge.errors import ConfigError

ARM = '\n[[arm]]\nname = "first"\nendpoint = "provider"\nmodel = "model-b"\n[arm.escalate]\n'


def config(folder: Path, text: str) -> Path:
    file = write_config(folder)
    file.write_text(
        file.read_text().replace('candidates = ["candidate"]', 'candidates = ["candidate", "first"]') + text
    )
    return file


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ('to = "nobody"', "must be an arm that does not escalate itself"),
        ('to = "first"', "must be an arm that does not escalate itself"),
        ('to = "incumbent"\non = []', "names nothing that would make it escalate"),
        ('to = "incumbent"\non = ["check"]', "does not fit"),
        ('to = "incumbent"\ncheck = "number"', "does not fit"),
        ('to = "incumbent"\non = ["check"]\ncheck = "label"', "does not fit"),
        ('to = "incumbent"\nabove_bytes = 0', "is out of range"),
        ('to = "incumbent"\non = ["vibes"]', "vibes"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, terms: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(config(tmp_path, ARM + terms))


def test_another_policy_or_another_second_model_is_another_arm(tmp_path: Path) -> None:
    plain = load(config(tmp_path / "a", ARM + 'to = "incumbent"'))
    stricter = load(config(tmp_path / "b", ARM + 'to = "incumbent"\nabove_bytes = 100'))
    file = config(tmp_path / "c", ARM + 'to = "incumbent"')
    file.write_text(file.read_text().replace('model = "model-a"', 'model = "model-z"'))
    identities = {one.arm_identity("first") for one in (plain, stricter, load(file))}
    assert 3 == len(identities)
    assert plain.arm_identity("candidate") not in identities
