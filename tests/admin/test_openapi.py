"""The description of the API holds: schemathesis sends what it allows and what it does not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.admin.site import AdminSite
from weighbridge.admin.table import described

COMMITTED = Path(__file__).parents[2] / "docs" / "reference" / "openapi.json"


def test_the_committed_description_is_that_of_the_doors() -> None:
    assert described() == COMMITTED.read_bytes(), "scripts/docs writes it"


def test_every_door_of_the_api_is_described_with_its_role() -> None:
    paths = json.loads(described())["paths"]
    assert "/api/v1/ramps/{route}/approve" in paths
    assert "Takes the role approver." == paths["/api/v1/ramps/{route}/approve"]["post"]["description"]
    operations = [one["operationId"] for path in paths.values() for one in path.values()]
    assert len(operations) == len(set(operations))


def fuzzed(site: AdminSite, examples: int, tmp_path: Path) -> None:
    token = site.token("fuzzer", "admin")
    ran = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")), "run", str(COMMITTED), "--url", site.origin,
            "--header", f"Authorization: Bearer {token}", "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
            "--max-examples", str(examples), "--phases", "fuzzing", "--seed", "7", "--no-color",
            "--exclude-path", "/api/v1/report",
        ],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=1_500,
    )  # fmt: skip
    assert 0 == ran.returncode, ran.stdout[-8_000:] + ran.stderr[-2_000:]


def test_a_few_requests_of_each_kind_are_answered_as_described(site: AdminSite, tmp_path: Path) -> None:
    site.user("fuzzer", "admin")
    fuzzed(site, 3, tmp_path)


@pytest.mark.long
def test_many_requests_of_each_kind_are_answered_as_described(site: AdminSite, tmp_path: Path) -> None:
    site.user("fuzzer", "admin")
    fuzzed(site, 200, tmp_path)
