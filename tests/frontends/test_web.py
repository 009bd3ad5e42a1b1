"""The screen as a web page: what it serves to whom, and the page itself in a real Chromium."""

import asyncio
import socket
import sys

import psutil
import pytest
from aiohttp import WSServerHandshakeError
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import AppRunner, SockSite

from llmdbg.cli import main
from llmdbg.errors import UsageError
from llmdbg.frontends import web
from tests.browser import CHROMIUM, tab

TOKEN = "a-secret"
PNG = b"\x89PNG"


@pytest.fixture
async def client():
    async with TestClient(TestServer(web.page(["--version"], TOKEN), host=web.LOOPBACK)) as found:
        yield found


@pytest.mark.parametrize(
    "path", ["/", "/ws", "/static/js/textual.js", "/other/", "/a-secre/", "/a-secret", "//", "/%00/"]
)
async def test_without_the_token_there_is_nothing(client, path):
    assert (await client.get(path)).status == 404


async def test_with_it_there_is_the_page_which_loads_nothing_from_elsewhere(client):
    answer = await client.get(f"/{TOKEN}/")
    assert answer.status == 200
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "https:" not in policy and "*" not in policy
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert f"ws://{client.host}:{client.port}/{TOKEN}/ws" in await answer.text()


async def test_the_page_finds_its_way_back_through_a_forwarded_port(client):
    answer = await client.get(f"/{TOKEN}/", headers={"Host": "localhost:9000"})
    assert f"ws://localhost:9000/{TOKEN}/ws" in await answer.text()


@pytest.mark.parametrize("host", ['x"><script>', "a b", "x/../y", "a,b"])
async def test_a_host_that_is_no_address_is_refused(client, host):
    assert (await client.get(f"/{TOKEN}/", headers={"Host": host})).status == 404


async def test_another_page_cannot_use_the_websocket(client):
    with pytest.raises(WSServerHandshakeError) as refused:
        await client.ws_connect(f"/{TOKEN}/ws", headers={"Origin": "https://evil.example"})
    assert refused.value.status == 403


def test_the_token_is_made_anew_and_only_this_machine_is_listened_to(monkeypatch, capsys):
    served = []
    monkeypatch.setattr("aiohttp.web.run_app", lambda _app, sock, **_: served.append(sock))
    for _ in range(2):
        assert web.serve(["-p", "hi"], 0) == 0
    addresses = [line.split()[4] for line in capsys.readouterr().err.splitlines()]
    assert len(set(addresses)) == 2 and all(each.startswith("http://127.0.0.1:") for each in addresses)
    assert {each.getsockname()[0] for each in served} == {"127.0.0.1"}
    for each in served:
        each.close()


async def no_children_left():
    """asyncio hears of the end of its subprocesses a little later."""
    for _ in range(300):
        if not psutil.Process().children():
            break
        await asyncio.sleep(0.1)
    await asyncio.sleep(0.2)


def test_what_can_be_refused_is_refused_before_anything_is_served(capsys):
    with socket.create_server((web.LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        for arguments, words in [
            (["-p", "x", "--web", str(port)], f"cannot listen on 127.0.0.1:{port}"),
            (["-p", "x", "--web", "70000"], "cannot listen"),
            (["--web", "0"], "there is no prompt"),
            (["-p", "x", "--web", "0", "--batch"], "--web shows the screen"),
            (["-p", "x", "--web=0", "--top-p", "7"], "--top-p must be"),
        ]:
            assert main(arguments) == 2
            assert words in capsys.readouterr().err


def test_without_textual_serve_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "textual_serve.server", None)
    with pytest.raises(UsageError, match="pip install textual-serve"):
        web.page([], TOKEN)


@pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium")
async def test_a_real_browser_shows_the_screen_steps_and_leaves(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name, value in web.WHAT_A_PAGE_SHOWS.items():
        monkeypatch.setenv(name, value)
    arguments = [str(tiny_folder), "-p", "The quick brown fox", "-n", "3", "--greedy"]
    runner = AppRunner(web.page(arguments, TOKEN))
    await runner.setup()
    listening = socket.create_server((web.LOOPBACK, 0))
    await SockSite(runner, listening).start()
    try:
        async with tab(f"http://{web.LOOPBACK}:{listening.getsockname()[1]}/{TOKEN}/") as page:
            await page.until(lambda text: "The·quick·brown·fox" in text and "▶   tokenize" in text)
            await page.click()
            await page.press("t")
            text = await page.until(lambda text: "▶   sample" in text)
            assert "1 tokens" in text and "token 1/3 @0" in text
            assert (await page.picture()).startswith(PNG)
            elsewhere = {id for id, url in page.requested.items() if not url.startswith(f"http://{web.LOOPBACK}:")}
            assert elsewhere <= page.blocked
            await page.press("q")
            for _ in range(300):
                if page.closed:
                    break
                await asyncio.sleep(0.1)
            assert page.closed == 1
    finally:
        await runner.cleanup()
        await no_children_left()
    assert list(tmp_path.rglob("session.json")), "leaving the page has saved the session"
