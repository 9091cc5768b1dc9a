"""Clips from elsewhere: only from public addresses, only so much, only so long; only one folder."""

from __future__ import annotations

import gzip
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from faster_higgs.audio.encode import FORMATS, encode
from faster_higgs.errors import AudioError
from faster_higgs.fetch import Elsewhere, is_public, is_sound, is_web

PUBLIC, OTHER = "93.184.216.34", "203.0.114.7"
CLIP = encode(np.zeros(2400, np.float32), "wav")
Serve = Callable[[socket.socket], None]


class Net:
    """Names and connections as a test wants them: all that is dialled reaches the one server."""

    def __init__(self, port: int, names: dict[str, list[str]]) -> None:
        self.port, self.names = port, names
        self.asked: list[str] = []
        self.dialled: list[tuple[str, int]] = []

    def resolve(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        return self.names.get(host, [host])

    def dial(self, address: str, port: int, seconds: float) -> socket.socket:
        self.dialled.append((address, port))
        return socket.create_connection(("127.0.0.1", self.port), seconds)


@contextmanager
def serving(serve: Serve, **names: list[str]) -> Iterator[Net]:
    """A server for a few connections, each in a thread, until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ended = threading.Event()

        def one(caller: socket.socket) -> None:
            with caller, suppress(OSError):
                serve(caller)

        def run() -> None:
            while not ended.is_set():
                with suppress(OSError):
                    threading.Thread(target=one, args=(listening.accept()[0],)).start()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield Net(listening.getsockname()[1], {"a.example": [PUBLIC], **names})
        finally:
            ended.set()
            with suppress(OSError):
                socket.create_connection(listening.getsockname(), 1).close()
            thread.join()


def elsewhere(net: Net, **more: object) -> Elsewhere:
    told = {"web": True, "seconds": 5.0, "resolve": net.resolve, "dial": net.dial, **more}
    return Elsewhere(**told)


def refused(rules: Elsewhere, place: str, why: str) -> None:
    with pytest.raises(AudioError, match=why):
        rules.read(place)


def head(caller: socket.socket) -> str:
    got = b""
    while not got.endswith(b"\r\n\r\n"):
        piece = caller.recv(1)
        if not piece:
            break
        got += piece
    return got.decode()


def answering(body: bytes, *headers: str, status: str = "200 OK") -> Serve:
    def serve(caller: socket.socket) -> None:
        head(caller)
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
        caller.sendall("\r\n".join(lines).encode() + body)

    return serve


def moving(*places: str) -> Serve:
    """The first goes to the first place, and so on; then the clip."""
    left = list(places)

    def serve(caller: socket.socket) -> None:
        if not left:
            answering(CLIP)(caller)
            return
        answering(b"", f"Location: {left.pop(0)}", status="302 Found")(caller)

    return serve


class TestWeb:
    def test_a_clip_comes_from_the_address_that_was_checked(self):
        with serving(answering(CLIP)) as net:
            assert elsewhere(net).read("http://a.example/x/y.wav?key=1") == CLIP
        assert (net.asked, net.dialled) == (["a.example"], [(PUBLIC, 80)])

    def test_the_server_hears_the_name_and_no_wish_for_compression(self, monkeypatch):
        heard = []

        def serve(caller: socket.socket) -> None:
            heard.append(head(caller))
            caller.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + CLIP)

        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        with serving(serve) as net:
            assert elsewhere(net).read("HTTP://A.example:8080/é b?c=ä d#e") == CLIP
        lines = heard[0].split("\r\n")
        assert lines[0] == "GET /%C3%A9%20b?c=%C3%A4%20d HTTP/1.1"
        assert "Host: a.example:8080" in lines and "Accept-Encoding: identity" in lines
        assert not any(line.lower().startswith(("authorization", "cookie")) for line in lines)

    def test_a_name_is_looked_up_once(self):
        """A second answer, as a server that rebinds its name would give, is never asked for."""
        with serving(answering(CLIP)) as net:
            answers = iter([[PUBLIC], ["127.0.0.1"]])
            net.resolve = lambda host, port: next(answers)  # type: ignore[method-assign]
            elsewhere(net).read("http://a.example/")
        assert net.dialled == [(PUBLIC, 80)]

    @pytest.mark.parametrize(
        "addresses",
        [["127.0.0.1"], ["169.254.169.254"], [PUBLIC, "10.0.0.1"], ["::1"], ["::ffff:8.8.8.8"], []],
    )
    def test_a_name_that_means_something_inside_is_refused(self, addresses):
        with serving(answering(CLIP), **{"in.example": addresses}) as net:
            refused(elsewhere(net), "http://in.example/", r"in\.example .* not a public address")
        assert not net.dialled

    @pytest.mark.parametrize(
        "place",
        [
            "http://127.0.0.1:1/",
            "http://localhost/",
            "http://169.254.169.254/latest/meta-data/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::1]:8000/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0/",
        ],
    )
    def test_the_systems_own_resolver_is_checked_as_well(self, place):
        with pytest.raises(AudioError, match=r"not a public address|cannot be reached"):
            Elsewhere(web=True, dial=lambda *_: pytest.fail("dialled")).read(place)

    @pytest.mark.parametrize(
        "target",
        ["http://127.0.0.1/x", "//169.254.169.254/x", "https://[::1]/", "http://b.example"],
    )
    def test_a_redirect_inwards_is_refused(self, target):
        with serving(moving(target), **{"b.example": ["192.168.1.1"]}) as net:
            refused(elsewhere(net), "http://a.example/", "not a public address")
        assert net.dialled == [(PUBLIC, 80)]

    @pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://a.example/x", "gopher://x/"])
    def test_a_redirect_to_another_scheme_is_refused(self, target):
        with serving(moving(target)) as net, pytest.raises(AudioError, match="must begin with"):
            elsewhere(net).read("http://a.example/")

    def test_three_redirects_are_followed_and_checked_anew(self):
        with serving(moving("/b", "http://c.example:81/", "?d"), **{"c.example": [OTHER]}) as net:
            assert elsewhere(net).read("http://a.example/") == CLIP
        assert net.dialled == [(PUBLIC, 80), (PUBLIC, 80), (OTHER, 81), (OTHER, 81)]
        with serving(moving("/b", "/c", "/d", "/e")) as net:
            refused(elsewhere(net), "http://a.example/", "moved more than 3 times")

    def test_a_redirect_may_not_leave_the_hosts_that_are_allowed(self):
        with serving(moving("http://b.example/")) as net:
            rules = elsewhere(net, hosts=("a.example",))
            refused(rules, "http://a.example/", r"b\.example .* not allowed")

    @pytest.mark.parametrize(
        ("host", "good"),
        [("A.example", 1), ("b.sub.example", 1), ("sub.example", 0), ("evila.example", 0)],
    )
    def test_hosts_are_allowed_by_name_or_by_what_they_lie_below(self, host, good):
        with serving(answering(CLIP), **{"b.sub.example": [PUBLIC], host: [PUBLIC]}) as net:
            rules = elsewhere(net, hosts=("a.example", ".sub.example"))
            if good:
                assert rules.read(f"http://{host}/") == CLIP
            else:
                with pytest.raises(AudioError, match="not allowed"):
                    rules.read(f"http://{host}/")

    @pytest.mark.parametrize(
        "place",
        [
            *("http://", "http:///x", "http://a:b@a.example/", "http://a.example:99999/"),
            *("http://[/", "ftp://a.example/", "http://a.example/\r\nX: y", "http://" + "a" * 5000),
            *("javascript://a", "http://" + "é" * 80 + ".example/", "http:a.example"),
        ],
    )
    def test_what_is_no_address_is_refused(self, place):
        with serving(answering(CLIP)) as net, pytest.raises(AudioError):
            elsewhere(net).read(place)
        assert not net.dialled

    def test_nothing_is_fetched_unless_it_was_allowed(self):
        with pytest.raises(AudioError, match="not fetched here"):
            Elsewhere(dial=lambda *_: pytest.fail("dialled")).read("http://a.example/")


class TestHowMuch:
    def test_one_that_is_compressed_is_refused(self):
        packed = gzip.compress(CLIP)
        with serving(answering(packed, "Content-Encoding: gzip")) as net:
            refused(elsewhere(net), "http://a.example/", "compressed")

    def test_one_that_says_it_is_large_is_not_even_begun(self):
        def serve(caller: socket.socket) -> None:
            head(caller)
            caller.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
            caller.recv(1)  # until the other side has gone

        with serving(serve) as net, pytest.raises(AudioError, match="larger than 10,485,760"):
            elsewhere(net).read("http://a.example/")

    @pytest.mark.parametrize("chunked", [False, True])
    def test_one_that_never_ends_is_cut_off(self, chunked):
        sent = []

        def serve(caller: socket.socket) -> None:
            head(caller)
            kind = b"Transfer-Encoding: chunked\r\n" if chunked else b""
            caller.sendall(b"HTTP/1.1 200 OK\r\n" + kind + b"\r\n")
            piece = CLIP + bytes(60_000)
            frame = b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece
            while True:
                caller.sendall(frame)
                sent.append(len(frame))

        with serving(serve) as net, pytest.raises(AudioError, match="larger than 300,000"):
            elsewhere(net, max_bytes=300_000).read("http://a.example/")
        assert sum(sent) < 20_000_000

    @pytest.mark.parametrize("where", ["head", "body", "nothing"])
    def test_one_that_drips_has_so_long_and_no_longer(self, where):
        def serve(caller: socket.socket) -> None:
            begin = b"" if where == "head" else b"HTTP/1.1 200 OK\r\n\r\n" + CLIP[:20]
            if where == "nothing":
                caller.recv(1 << 16)
                time.sleep(1)
                return
            caller.sendall(begin)
            while True:
                caller.sendall(b"H")
                time.sleep(0.02)

        begin = time.monotonic()
        with serving(serve) as net, pytest.raises(AudioError, match=r"longer than 0\.3 s"):
            elsewhere(net, seconds=0.3).read("http://a.example/")
        assert time.monotonic() - begin < 2

    def test_a_name_that_is_not_found_in_time_is_not_waited_for(self):
        with serving(answering(CLIP)) as net, pytest.raises(AudioError, match="longer than"):
            net.resolve = lambda *_: time.sleep(1) or [PUBLIC]  # type: ignore[method-assign]
            elsewhere(net, seconds=0.1).read("http://a.example/")

    @pytest.mark.parametrize(
        "body", [b"<!doctype html><p>not sound", b"root:x:0:0:root:/root:/bin/sh", b"{}" * 20]
    )
    def test_what_is_no_sound_is_refused_whatever_it_says(self, body):
        with serving(answering(body, "Content-Type: audio/wav")) as net:
            refused(elsewhere(net), "http://a.example/", "not a sound file")

    @pytest.mark.parametrize("format", sorted(set(FORMATS) - {"pcm"}))
    def test_what_is_sound_begins_so(self, format):
        assert is_sound(encode(np.zeros(4800, np.float32), format))

    @pytest.mark.parametrize(
        ("answer", "why"),
        [
            (b"HTTP/1.1 404 Not Found\r\n\r\n", "status 404"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n" + CLIP, "ends too early"),
            (b"hello\r\n\r\n", "nonsense"),
            (b"", "nonsense"),
        ],
    )
    def test_a_bad_answer_is_told(self, answer, why):
        def serve(caller: socket.socket) -> None:
            head(caller)
            caller.sendall(answer)

        with serving(serve) as net, pytest.raises(AudioError, match=why):
            elsewhere(net).read("http://a.example/")


def test_who_cannot_prove_a_name_is_not_spoken_to():
    def serve(caller: socket.socket) -> None:
        caller.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + CLIP)

    with serving(serve) as net, pytest.raises(AudioError, match="encryption is not valid"):
        elsewhere(net).read("https://a.example/")
    assert net.dialled == [(PUBLIC, 443)]


def test_the_name_is_what_a_certificate_is_asked_for(monkeypatch):
    asked = {}

    def wrap(self, one, *, server_hostname):
        asked.update(name=server_hostname, mode=self.verify_mode, checked=self.check_hostname)
        return one

    monkeypatch.setattr(ssl.SSLContext, "wrap_socket", wrap)
    with serving(answering(CLIP)) as net:
        assert elsewhere(net).read("https://a.example/") == CLIP
    assert asked == {"name": "a.example", "mode": ssl.CERT_REQUIRED, "checked": True}


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1"),
        *("192.168.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "2001:db8::1", "x", ""),
        *("::ffff:8.8.8.8", "::8.8.8.8", "64:ff9b::8.8.8.8", "2002:0808:0808::1", "2001::1"),
        *("100.100.100.200", "168.63.129.16"),
    ],
)
def test_these_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", PUBLIC, "2606:4700::1111", "2a00:1450:4001::1"])
def test_these_are(address):
    assert is_public(address)


@pytest.mark.parametrize(
    ("place", "web"),
    [("HTTPS://a", 1), ("file:///x", 1), ("file:x", 1), ("x://", 1), ("a/b.wav", 0), (r"C:\a", 0)],
)
def test_what_has_a_scheme_is_no_path(place, web):
    assert is_web(place) == bool(web)


class TestFolder:
    @pytest.fixture
    def rules(self, tmp_path: Path) -> Elsewhere:
        home = tmp_path / "media"
        (home / "sub").mkdir(parents=True)
        (home / "sub" / "a.wav").write_bytes(CLIP)
        (tmp_path / "secret.wav").write_bytes(b"secret")
        return Elsewhere(folder=home, max_bytes=100_000)

    def test_files_below_it_are_read(self, rules):
        assert rules.read("sub/a.wav") == CLIP
        assert rules.read(str(rules.folder / "sub" / "a.wav")) == CLIP
        assert rules.read("sub/../sub/a.wav") == CLIP

    @pytest.mark.parametrize(
        "place",
        ["../secret.wav", "/etc/passwd", "sub/../../secret.wav", "", "sub", ".", "no.wav", "a\0b"],
    )
    def test_nothing_else_is_and_whether_it_is_there_is_not_told(self, rules, place):
        with pytest.raises(AudioError, match="not in the folder that is allowed, or cannot"):
            rules.read(place)

    @pytest.mark.parametrize("place", ["file:///etc/passwd", "file:sub/a.wav"])
    def test_never_by_a_file_address(self, rules, place):
        with pytest.raises(AudioError):
            rules.read(place)

    @pytest.mark.skipif(os.name != "posix", reason="links")
    def test_links_are_followed_inside_and_not_outside(self, rules):
        (rules.folder / "in.wav").symlink_to("sub/a.wav")
        (rules.folder / "out.wav").symlink_to("../secret.wav")
        (rules.folder / "up").symlink_to("..")
        assert rules.read("in.wav") == CLIP
        for place in ("out.wav", "up/secret.wav"):
            with pytest.raises(AudioError):
                rules.read(place)

    @pytest.mark.skipif(os.name != "posix", reason="links")
    def test_a_link_that_appears_after_the_check_is_not_followed(self, rules, monkeypatch):
        resolve = Path.resolve

        def swapped(self: Path, strict: bool = False) -> Path:
            found = resolve(self, strict)
            if found.name == "a.wav":
                found.unlink()
                found.symlink_to(rules.folder.parent / "secret.wav")
            return found

        monkeypatch.setattr(Path, "resolve", swapped)
        with pytest.raises(AudioError):
            rules.read("sub/a.wav")

    @pytest.mark.skipif(os.name != "posix", reason="pipes")
    def test_a_pipe_holds_nobody(self, rules):
        os.mkfifo(rules.folder / "pipe.wav")
        with pytest.raises(AudioError):
            rules.read("pipe.wav")

    def test_one_that_is_too_large_is_refused(self, rules):
        (rules.folder / "big.wav").write_bytes(bytes(100_001))
        with pytest.raises(AudioError, match="larger than 100,000"):
            rules.read("big.wav")

    def test_no_folder_no_files(self):
        with pytest.raises(AudioError, match="not read"):
            Elsewhere().read("a.wav")
