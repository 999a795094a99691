"""The obligations kit, and whether a required text is really shown."""

import asyncio
from pathlib import Path

import pytest

from tests.licenses.profiles import ON, org
from weighbridge.errors import UsageError, WeighbridgeError
from weighbridge.licenses.kit import kit
from weighbridge.licenses.shown import look, plain, read_folder, read_page


def test_llama_comes_with_notice_attribution_and_name() -> None:
    made = kit("llama-3.1", org("product", users_on={"2024-07-23": 1.0}), ON)
    assert {"OBLIGATIONS.md", "NOTICE", "ATTRIBUTION.txt", "MODEL-NAME.txt"} == set(made.files)
    assert "Built with Llama\n" == made.files["ATTRIBUTION.txt"]
    assert made.files["NOTICE"].startswith("Llama 3.1 is licensed under the Llama 3.1 Community License")
    assert "begins with: Llama" in made.files["MODEL-NAME.txt"]
    assert "clause 1.b.i" in made.files["OBLIGATIONS.md"]


def test_the_notice_mail_of_m3_has_recipient_and_subject() -> None:
    made = kit("minimax-m3-community", org("product", revenue={"entity_year": 5e6}), ON)
    (mail,) = (text for name, text in made.files.items() if name.startswith("mail-"))
    assert mail.startswith("To: api@minimax.io\nSubject: M3 licensing — notice\n")


def test_an_authorisation_is_asked_for_only_above_the_line() -> None:
    above = kit("minimax-m3-community", org("product", revenue={"entity_year": 25e6}), ON)
    assert ["mail-minimax-m3-community-written-authorisation.txt"] == [n for n in above.files if n.startswith("mail-")]


def test_the_name_shown_is_that_of_the_version_in_use() -> None:
    who = org("product", users={"product": 1.0}, revenue={"product_month": 1e9})
    assert "Kimi K2.5\n" == kit("Kimi-K2.5", who, ON).files["ATTRIBUTION.txt"]


def test_a_stack_has_the_texts_of_both() -> None:
    who = org("product", users={"product": 1.0}, users_on={"2024-07-23": 1.0})
    made = kit("qwen-2024 + llama-3.1", who, ON)
    assert "Qwen is licensed" in made.files["NOTICE"]
    assert "Llama 3.1 is licensed" in made.files["NOTICE"]


def test_a_text_is_found_behind_markup_and_line_breaks() -> None:
    who = org("product", users_on={"2024-07-23": 1.0})
    texts = kit("llama-3.1", who, ON).required
    page = "<footer><!-- Built with Llama -->Built <b>with</b>\n  Llama &amp; care</footer>"
    assert [page_name(texts, {"index.html": page})] == ["index.html"]
    assert [page_name(texts, {"index.html": "<!-- Built with Llama --><script>'Built with Llama'</script>"})] == [None]
    assert [page_name(texts, {"index.html": "Built without Llama"})] == [None]


def page_name(texts: tuple[object, ...], pages: dict[str, str]) -> str | None:
    (place,) = look(pages, texts, "here").texts  # type: ignore[arg-type]
    return place.found_in


def test_markup_is_taken_away_as_a_reader_would() -> None:
    assert "a b & c" == plain("<p>a<br>b &amp; c</p>").strip()


def test_a_folder_is_read_without_binaries_and_hidden_files(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("Built with Llama")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.txt").write_text("Built with Llama")
    (tmp_path / "logo.png").write_bytes(b"\x89PNG")
    assert {"site/index.html"} == set(read_folder(tmp_path))


def test_a_page_is_fetched_as_it_is() -> None:
    async def serve_and_read(status: str, body: bytes) -> dict[str, str]:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 %s\r\ncontent-length: %d\r\n\r\n%s" % (status.encode(), len(body), body))
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            return await read_page(f"http://127.0.0.1:{port}/about")

    (page,) = asyncio.run(serve_and_read("200 OK", b"Built with Llama")).values()
    assert "Built with Llama" == page
    with pytest.raises(WeighbridgeError, match="status 404"):
        asyncio.run(serve_and_read("404 Not Found", b""))


@pytest.mark.parametrize("url", ["nowhere", "ftp://example.com", "https://"])
def test_what_is_neither_folder_nor_page_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="neither a folder nor a page"):
        asyncio.run(read_page(url))
