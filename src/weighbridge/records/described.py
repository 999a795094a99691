"""What the string under a field says: the one place where a record, its page and its schema take their words from."""

import ast
import inspect
import textwrap

import msgspec


def described_fields(kind: type) -> dict[str, str]:
    """What the string under each field says, inherited fields included. Lines are joined."""
    found: dict[str, str] = {}
    for owner in reversed(kind.__mro__):
        if not issubclass(owner, msgspec.Struct) or owner is msgspec.Struct:
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
        if not isinstance(body, ast.ClassDef):
            continue
        for field, text in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                match text:
                    case ast.Expr(value=ast.Constant(value=str(said))):
                        found[field.target.id] = " ".join(said.split())
    return found
