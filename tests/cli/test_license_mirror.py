"""`license mirror`: licence and weights kept by hash; each way in which a mirror can be wrong is found."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from weighbridge.cli.root import run

APACHE = (Path(__file__).resolve().parents[2] / "LICENSE").read_bytes()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "LICENSE").write_bytes(APACHE)
    model = tmp_path / "model"
    (model / "part").mkdir(parents=True)
    (model / "a.safetensors").write_bytes(b"weights" * 1000)
    (model / "part" / "b.safetensors").symlink_to(model / "a.safetensors")
    (model / ".cache").write_bytes(b"hidden")
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    assert code == run(["license", "mirror", *arguments, "--json"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def kept(folder: Path, content: bytes) -> Path:
    digest = sha256(content).hexdigest()
    return folder / "weighbridge-mirror" / "sha256" / digest[:2] / digest


def test_licence_and_weights_lie_under_their_sha256_and_the_manifest_says_whose_they_are(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = said(capsys, 0, "Lab-1", "--license", "LICENSE", "--weights", "model", "--on", "2026-11-25")
    (model,) = made["models"]
    assert ("Lab-1", ["apache-2.0"], "2026-11-25") == (model["model"], model["terms"], model["on"])
    assert [("licence", "LICENSE"), ("weights", "a.safetensors"), ("weights", "part/b.safetensors")] == [
        (row["role"], row["name"]) for row in model["files"]
    ]
    assert APACHE == kept(folder, APACHE).read_bytes()
    assert made == json.loads((folder / "weighbridge-mirror" / "manifest.json").read_bytes())
    found = said(capsys, 0, "--check")
    assert (True, 1, 3, len(APACHE) + 7000) == (found["ok"], found["models"], found["files"], found["bytes"])


def test_a_changed_a_missing_and_a_strange_file_are_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, 0, "Lab-1", "--license", "LICENSE", "--weights", "model")
    weights, licence = kept(folder, b"weights" * 1000), kept(folder, APACHE)
    weights.chmod(0o644)
    weights.write_bytes(b"Weights" + b"weights" * 999)
    licence.unlink()
    (weights.parent / "more").write_bytes(b"?")
    faults = said(capsys, 1, "--check")["faults"]
    assert [
        ("LICENSE", "missing"), ("a.safetensors", "changed"), ("part/b.safetensors", "changed"), ("more", "not listed"),
    ] == [(row["name"], row["kind"]) for row in faults]  # fmt: skip


def test_a_second_run_adds_and_replaces_only_what_it_names(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, 0, "Lab-1", "--license", "LICENSE")
    said(capsys, 0, "Lab-2", "--license", "LICENSE")
    (folder / "NOTICE").write_text("a notice")
    made = said(capsys, 0, "lab-1", "--license", "NOTICE", "--weights", "model/a.safetensors")
    assert {"Lab-2": 1, "lab-1": 3} == {row["model"]: len(row["files"]) for row in made["models"]}
    assert said(capsys, 0, "--check")["ok"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--check"], "holds no mirror"),
        (["Lab-1"], "--license"),
        (["Lab-1", "--weights", "model"], "--license"),
        (["Lab-1", "--license", "gone"], "cannot be read"),
        (["Lab-1", "--license", "LICENSE", "--weights", "gone"], "neither a file nor a folder"),
        (["Lab-1", "--check"], "leave MODEL"),
    ],
)
def test_wrong_use_is_said_and_nothing_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert 64 == run(["license", "mirror", *arguments])
    assert told in capsys.readouterr().err
    assert not (folder / "weighbridge-mirror").exists()


def test_a_manifest_that_is_not_one_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, 0, "Lab-1", "--license", "LICENSE")
    (folder / "weighbridge-mirror" / "manifest.json").write_text('{"schema":"license-mirror/2"}')
    assert 64 == run(["license", "mirror", "--check"])
    assert "manifest.json" in capsys.readouterr().err


def test_the_supplier_picture_says_whether_the_model_is_mirrored(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["license", "check", "Kimi-K3"])
    assert "nothing of Kimi-K3 is mirrored" in capsys.readouterr().out
    said(capsys, 0, "Kimi-K3", "--license", "LICENSE", "--on", "2026-11-25")
    run(["license", "check", "Kimi-K3"])
    assert "mirrored by sha256 on 2026-11-25: 1 licence file(s), 0 of weights" in capsys.readouterr().out
