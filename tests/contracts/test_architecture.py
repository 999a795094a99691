"""The walls of the design: who may import whom, what a worker may load, one door to each library."""

import ast
import io
import json
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = REPOSITORY / "src" / "weighbridge"
FILES = sorted(SOURCE.rglob("*.py"))

NOT_IN_A_WORKER = (
    "apsw", "argon2", "botocore", "duckdb", "google", "genai_prices", "huggingface_hub", "jinja2", "jsonschema",
    "license_expression", "numpy", "openai", "opentelemetry", "prometheus_client", "psycopg", "pydantic", "ray", "rich",
    "starlette", "typer", "uvicorn", "xllamacpp",
)  # fmt: skip

DOORS = {
    "apsw": {"store"},
    "starlette": {"admin"},
    "uvicorn": {"admin"},
    "argon2": {"admin"},
    "authlib": {"admin"},
    "httpx": {"admin"},
    "joserfc": {"admin"},
    "psycopg": {"store"},
    "duckdb": {"exchanges", "grading", "ledger", "reports", "scan", "trials"},
    "genai_prices": {"ledger"},
    "huggingface_hub": {"licenses"},
    "license_expression": {"licenses"},
    "jsonschema": {"grading"},
    "jinja2": {"admin", "reports", "scan"},
    "botocore": {"upstream"},
    "google": {"upstream"},
    "numpy": {"ledger", "stats", "store", "trials"},
    "prometheus_client": {"app"},
    "ray": {"trials"},
    "typer": {"cli"},
    "rich": {"cli"},
    "httptools": {"gateway", "upstream"},
    "uvloop": {"gateway", "trials", "app", "keeper"},
    "xllamacpp": {"samples"},
}
"""Each library has its door: the rooms that may import it. Whoever else needs what it does asks that room."""


def room(file: Path) -> str:
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


def place(file: Path, line: int) -> str:
    return f"{file.relative_to(REPOSITORY)}:{line}"


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """(line, top-level name) of each import, those inside functions too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module.partition(".")[0]


def comments(file: Path) -> dict[int, str]:
    """The comment on each line that has one."""
    tokens = tokenize.generate_tokens(io.StringIO(file.read_text()).readline)
    return {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}


def test_imports_go_downwards_only_and_every_room_has_its_layer() -> None:
    ran = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == ran.returncode, ran.stdout


@pytest.mark.parametrize(
    "module", ["weighbridge.gateway.worker", "weighbridge.exchanges.writer", "weighbridge.upstream"]
)
def test_what_a_gateway_worker_imports_is_light(module: str) -> None:
    program = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(ran.stdout)}
    assert module.partition(".")[0] in loaded
    assert [] == sorted(loaded & set(NOT_IN_A_WORKER))


def test_each_library_is_imported_only_by_the_room_that_is_its_door() -> None:
    wrong = [
        f"{place(file, line)}: {name} belongs to {', '.join(sorted(DOORS[name]))}"
        for file in FILES
        for line, name in imports(file)
        if name in DOORS and room(file) not in DOORS[name]
    ]
    assert [] == wrong


def test_the_parser_is_never_told_to_be_lenient() -> None:
    # httptools can switch off the checks that keep two parsers from reading one request in two ways.
    lenient = [
        place(file, node.lineno)
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "set_dangerous_leniencies"
    ]
    assert [] == lenient


def _catches_everything(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(
        kind is None or (isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException")) for kind in caught
    )


def _raises_again(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def test_whoever_catches_everything_raises_it_again_or_says_why_not() -> None:
    silent = []
    for file in FILES:
        said = comments(file)
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ExceptHandler) and _catches_everything(node) and not _raises_again(node):
                near = range(node.lineno - 1, node.body[0].lineno + 1)
                reasons = [
                    re.sub(r"#\s*(noqa(: ?[A-Z0-9, ]+)?)?", "", said[line]).strip() for line in near if line in said
                ]
                if not any(reasons):
                    silent.append(place(file, node.lineno))
    assert [] == silent


def test_no_file_is_called_after_nothing_in_particular() -> None:
    vague = {"util", "utils", "helper", "helpers", "manager", "managers", "common", "misc", "base", "core"}
    assert [] == [str(file.relative_to(SOURCE)) for file in FILES if file.stem in vague or file.parent.name in vague]


def test_the_environment_is_read_only_where_secrets_are_resolved_and_children_started() -> None:
    doors = {
        "config/secrets.py", "config/proxies.py", "app/children.py", "samples/local_model.py", "cli/demo_live.py",
        "trials/cluster.py",  # a cluster that it starts is told to tell nobody
    }  # fmt: skip
    readers = {
        str(file.relative_to(SOURCE))
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "environb")
    }
    assert set() == readers - doors


def test_every_room_says_what_it_is() -> None:
    rooms = [folder / "__init__.py" for folder in SOURCE.iterdir() if (folder / "__init__.py").is_file()]
    assert len(rooms) > 10
    assert [] == [str(file) for file in rooms if not (ast.get_docstring(ast.parse(file.read_text())) or "").strip()]
