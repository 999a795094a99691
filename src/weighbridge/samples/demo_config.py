"""The configuration of the demonstrations: a route of support traffic, an incumbent, a small open-weight candidate."""

import json
from dataclasses import dataclass

from weighbridge.samples.items import EXTRACT_FIELDS, LABELS
from weighbridge.samples.local_model import SMOLLM2
from weighbridge.samples.sample_provider import MODEL as HAND_WRITTEN

ROUTE = "support"
CANDIDATE = "smollm2-135m"
MARGIN, ALPHA, SEED = 0.10, 0.05, 0
KEY_VARIABLE = "WEIGHBRIDGE_DEMO_KEY"

SAMPLE_NOTE = (
    "A sample: 450 invented requests of an invented shop. It shows how Weighbridge decides and says nothing about your "
    "own traffic."
)
HAND_WRITTEN_NOTE = "The incumbent's answers were written by hand, not by a model; nobody charges for them."


@dataclass(frozen=True, slots=True)
class Incumbent:
    """Who answers the sample's requests first. `model` None: the shipped, hand-written answers."""

    base_url: str
    model: str | None = None
    key_variable: str | None = None

    @property
    def arm(self) -> str:
        return self.model or HAND_WRITTEN

    @property
    def hand_written(self) -> bool:
        return self.model is None


def demo_config(incumbent: Incumbent, candidate_url: str) -> str:
    """`weighbridge.toml` of a demonstration; its schema file has to lie beside it."""
    key = f'api_key = "env:{incumbent.key_variable}"\n' if incumbent.key_variable else ""
    weights = "" if incumbent.hand_written else 'weights = "closed"\n'
    return f"""# Written by the demonstration of Weighbridge; read it, change it, run `weighbridge trial run` again.

[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"

[capture]
bodies = true
purpose = "trying Weighbridge on its own sample"
approved_by = "whoever started the demonstration"

[[endpoint]]
name = "incumbent"
base_url = {json.dumps(incumbent.base_url)}
{key}
[[endpoint]]
name = "this-machine"
base_url = {json.dumps(candidate_url)}
precision = "Q4_1"

[[arm]]
name = {json.dumps(incumbent.arm)}
endpoint = "incumbent"
model = {json.dumps(incumbent.arm)}
{weights}
[[arm]]
name = "{CANDIDATE}"
endpoint = "this-machine"
model = "{SMOLLM2.model}"
weights = "open"
terms = "{SMOLLM2.license}"
# What a token on this machine costs is yours to say; until then costs are unknown, and no saving is claimed.
# price = {{ input = "0.02", output = "0.05" }}   # USD per million tokens

[[route]]
name = "{ROUTE}"
incumbent = {json.dumps(incumbent.arm)}
candidates = ["{CANDIDATE}"]
slice_by = ["tag:task"]

[[grader]]
route = "{ROUTE}"
slice = "task=triage"
kind = "label"
labels = {json.dumps(list(LABELS))}

[[grader]]
route = "{ROUTE}"
slice = "task=extract"
kind = "json"
schema = "extract.schema.json"
fields = {json.dumps(list(EXTRACT_FIELDS))}

[[grader]]
route = "{ROUTE}"
slice = "task=refund"
kind = "number"
extract = "last_number"

[[key]]
name = "demo"
secret = "env:{KEY_VARIABLE}"
"""
