"""Templates: everything that goes into a page is escaped, and a name that a template lacks is an error."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

import jinja2
from starlette.responses import HTMLResponse, Response

KINDS = {
    "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8", "woff2": "font/woff2",
}  # fmt: skip


@cache
def environment() -> jinja2.Environment:
    return jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        loader=jinja2.PackageLoader("weighbridge.admin"),
    )  # fmt: skip


def render(template: str, context: Mapping[str, object], status: int = 200) -> HTMLResponse:
    return HTMLResponse(environment().get_template(template).render(context), status)


@cache
def _static() -> dict[str, bytes]:
    """Every file that may be served, by its path below `static/`. Nothing else can be asked for."""
    found: dict[str, bytes] = {}

    def walk(folder: Traversable, path: str) -> None:
        for one in folder.iterdir():
            name = f"{path}{one.name}"
            if one.is_dir():
                walk(one, f"{name}/")
            elif name.rpartition(".")[2] in KINDS:
                found[name] = one.read_bytes()

    walk(files("weighbridge.admin").joinpath("static"), "")
    return found


def static_file(path: str) -> Response | None:
    """`None` where there is none."""
    body = _static().get(path)
    return None if body is None else Response(body, media_type=KINDS[path.rpartition(".")[2]])
