"""Downloads from a server on this machine: resumed, verified, whole or not at all."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from file_server import FileServer, as_from_a_terminal, redirect, status
from panoptic_deeplab.hub import download, http
from panoptic_deeplab.hub.download import fetch
from panoptic_deeplab.hub.verify import Expected, parse_digest

CONTENT = bytes(range(256)) * 20_000  # 5 MB, several pieces
DIGEST = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(http, "TIMEOUT_SECONDS", 0.3)
    for name in ("http_proxy", "HTTP_PROXY", "PANOPTIC_DEEPLAB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    server = FileServer()
    server.files["/model.pkl"] = CONTENT
    yield server
    server.close()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "model.pkl"


def get(server: FileServer, target: Path, digest: str = "", path: str = "/model.pkl") -> Path:
    return fetch(server.url + path, target, Expected(digest))


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()} - {f".{n}.lock" for n in ("model.pkl",)}


# --- the good way ---------------------------------------------------------------------------


@pytest.mark.parametrize("digest", ["", DIGEST, DIGEST[:15], f"md5:{MD5[:6]}"])
def test_a_file_lands_whole_and_says_where_it_came_from(server, target, digest):
    assert get(server, target, digest) == target
    assert target.read_bytes() == CONTENT
    origin = json.loads(target.with_name("model.pkl.origin.json").read_text())
    assert origin == {
        "url": f"{server.url}/model.pkl",
        "size_bytes": len(CONTENT),
        "sha256": DIGEST.removeprefix("sha256:"),
    }
    assert names(target.parent) == {"model.pkl", "model.pkl.origin.json"}
    get(server, target, digest)
    assert len(server.asked) == 1, "the second time it comes from the cache"


def test_redirects_are_followed_but_not_for_ever_nor_elsewhere(server, target, monkeypatch):
    server.faults["/old"] = redirect("/older", 301)
    server.faults["/older"] = redirect(f"{server.url}/model.pkl", 307)
    get(server, target, path="/old")
    assert target.read_bytes() == CONTENT
    target.unlink()
    server.faults["/circle"] = redirect("/circle")
    with pytest.raises(ValueError, match="leads on more than 5 times, or in a circle"):
        get(server, target, path="/circle")
    for scheme in ("file:///etc/hostname", "ftp://127.0.0.1/x"):
        server.faults["/away"] = redirect(scheme)
        with pytest.raises(ValueError, match="begins with https:// or http://"):
            get(server, target, path="/away")
    secure = http.Request("https://example.org/a")
    with pytest.raises(ValueError, match="from https to plain http"):
        http._Redirects().redirect_request(secure, None, 302, "", {}, "http://example.org/a")
    assert not names(target.parent) - {"model.pkl.origin.json"}


def test_a_cached_file_that_lost_its_end_is_fetched_again(server, target, monkeypatch, caplog):
    get(server, target)
    target.write_bytes(CONTENT[:1000])
    monkeypatch.setenv("PANOPTIC_DEEPLAB_OFFLINE", "1")
    with pytest.raises(FileNotFoundError, match="or not in full"):
        get(server, target)
    monkeypatch.delenv("PANOPTIC_DEEPLAB_OFFLINE")
    assert get(server, target).read_bytes() == CONTENT
    assert "has not the size it had" in caplog.text


def test_a_file_that_a_user_put_there_is_believed(server, target):
    target.parent.mkdir()
    target.write_bytes(b"mine")
    assert get(server, target, DIGEST).read_bytes() == b"mine"
    assert server.asked == []


# --- interruption ---------------------------------------------------------------------------


def test_a_transfer_that_breaks_off_is_resumed_at_once(server, target):
    server.cut_after = 2_000_000
    get(server, target, DIGEST)
    assert target.read_bytes() == CONTENT
    assert [r for _, r in server.asked] == ["", "bytes=2000000-", "bytes=4000000-"]


def test_what_has_come_is_kept_for_the_next_call(server, target, monkeypatch):
    monkeypatch.setattr(download, "TRIES", 1)
    server.cut_after = 3_000_000
    with pytest.raises(ConnectionError, match=r"3\.0 MB are kept; the same command goes on"):
        get(server, target)
    assert not target.exists()
    assert (target.parent / ".model.pkl.part").stat().st_size == 3_000_000
    server.cut_after = 0
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert server.asked[-1][1] == "bytes=3000000-"
    assert names(target.parent) == {"model.pkl", "model.pkl.origin.json"}


@pytest.mark.parametrize("tag", ['"second"', ""])
def test_the_rest_of_another_file_is_never_appended(server, target, monkeypatch, tag):
    """The publisher replaced the file in between, or says nothing by which one could tell."""
    monkeypatch.setattr(download, "TRIES", 1)
    server.cut_after, server.tag = 3_000_000, '"first"' if tag else ""
    with pytest.raises(ConnectionError):
        get(server, target)
    server.files["/model.pkl"] = other = CONTENT[::-1]
    server.cut_after, server.tag = 0, tag
    get(server, target)
    assert target.read_bytes() == other


def test_a_server_that_does_not_heed_if_range(server, target, monkeypatch):
    monkeypatch.setattr(download, "TRIES", 1)
    server.cut_after = 3_000_000
    with pytest.raises(ConnectionError):
        get(server, target)
    server.cut_after, other = 0, CONTENT[::-1]
    rest = status(
        206, other[3_000_000:], ETag='"second"', Content_Range="bytes 3000000-5119999/5120000"
    )
    whole = status(200, other, ETag='"second"', Content_Length="5120000")
    server.faults["/model.pkl"] = lambda h: (rest if h.headers.get("Range") else whole)(h)
    get(server, target)
    assert target.read_bytes() == other


def test_a_part_longer_than_the_file_starts_anew(server, target):
    target.parent.mkdir()
    (target.parent / ".model.pkl.part").write_bytes(bytes(len(CONTENT) + 5))
    get(server, target, DIGEST)
    assert [r for _, r in server.asked] == [f"bytes={len(CONTENT) + 5}-", ""]
    assert target.read_bytes() == CONTENT


def test_ctrl_c_leaves_a_part_that_is_resumed(server, target):
    """In a process of its own, stopped by the signal that Ctrl-C sends."""
    server.go_on.clear()
    process = child(server, target)
    assert server.reading.wait(20)
    part = target.parent / ".model.pkl.part"
    wait_until(lambda: part.exists() and part.stat().st_size > 1_000_000)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    server.go_on.set()
    have = part.stat().st_size
    assert 0 < have < len(CONTENT)
    assert not target.exists()
    get(server, target, DIGEST)
    assert target.read_bytes() == CONTENT
    assert server.asked[-1][1] == f"bytes={have}-"


def test_kill_leaves_no_lock_behind(server, target):
    server.go_on.clear()
    process = child(server, target)
    assert server.reading.wait(20)
    process.kill()
    process.wait(20)
    server.go_on.set()
    get(server, target, DIGEST)
    assert target.read_bytes() == CONTENT


# --- several at once ------------------------------------------------------------------------


def test_two_processes_fetch_once(server, target):
    server.go_on.clear()
    first = child(server, target)
    assert server.reading.wait(20)
    second = child(server, target)
    line = second.stderr.readline()
    assert "Another process is fetching model.pkl; waiting" in line
    server.go_on.set()
    assert [first.wait(20), second.wait(20)] == [0, 0]
    assert len(server.asked) == 1
    assert target.read_bytes() == CONTENT


def test_threads_of_one_process_fetch_once(server, target):
    threads = [threading.Thread(target=get, args=(server, target)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(server.asked) == 1
    assert target.read_bytes() == CONTENT


# --- what is refused ------------------------------------------------------------------------

REFUSED = {
    "404": (status(404), FileNotFoundError, r"There is no file at http\S+ \(HTTP 404\)"),
    "gone": (status(410), FileNotFoundError, r"\(HTTP 410\)"),
    "closed": (status(403), PermissionError, "not open to everyone"),
    "busy": (status(503), ConnectionError, "the server answered HTTP 503. Check the connection"),
    "odd": (status(418), ValueError, "answered HTTP 418"),
    "a page": (status(200, b"<p>", Content_Type="text/html"), ValueError, "gives a web page"),
    "claims too much": (
        status(200, b"x", Content_Length=str(2**50)),
        ValueError,
        "that is no file of weights",
    ),
    "nothing": (status(200, b"", Content_Length="0"), ValueError, "nothing in it"),
    "negative": (status(200, b"x", Content_Length="-5"), ValueError, "does not say how long"),
    "no length": (status(200, b"x"), ValueError, "does not say how long"),
    "no http": (lambda h: h.wfile.write(b"SSH-2.0\r\n\r\n") or True, ConnectionError, "cannot be"),
    "silent": (lambda h: time.sleep(1) or True, ConnectionError, r"not answered for 0\.3 seconds"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_answers_end_in_one_sentence(server, target, monkeypatch, name):
    monkeypatch.setattr(download, "TRIES", 2)
    fault, kind, message = REFUSED[name]
    server.faults["/model.pkl"] = fault
    with pytest.raises(kind, match=message) as caught:
        get(server, target)
    assert "\n" not in str(caught.value)
    assert not target.exists()
    assert not names(target.parent) - {".model.pkl.part.json"}


def test_trouble_that_passes_goes_unnoticed(server, target):
    answers = iter([status(503), status(429)])
    server.faults["/model.pkl"] = lambda h: (next(answers, None) or (lambda _: False))(h)
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert len(server.asked) == 3


def test_a_server_that_falls_silent_half_way(server, target, monkeypatch):
    monkeypatch.setattr(download, "TRIES", 1)
    server.go_on.clear()
    with pytest.raises(ConnectionError, match=r"nothing came for 0\.3 seconds.* are kept"):
        get(server, target)
    server.go_on.set()
    get(server, target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("digest", ["sha256:" + "0" * 64, "md5:000000"])
def test_another_file_than_published_is_thrown_away(server, target, digest):
    with pytest.raises(ValueError, match=r"expected 0{6}.*It was thrown away"):
        get(server, target, digest)
    assert names(target.parent) == set()


def test_another_size_than_published_is_not_even_fetched(server, target):
    with pytest.raises(ValueError, match=r"has 5120000 bytes, expected 7\. .* nothing was kept"):
        fetch(f"{server.url}/model.pkl", target, Expected(size_bytes=7))
    assert names(target.parent) == set()


def test_a_body_without_length_is_not_trusted_either(server, target, monkeypatch):
    monkeypatch.setattr(download, "LIMIT_BYTES", 1_000_000)
    server.faults["/model.pkl"] = status(200, CONTENT)
    with pytest.raises(ValueError, match="or more; that is no file of weights"):
        get(server, target, DIGEST)
    assert not names(target.parent) - {".model.pkl.part.json"}


def test_a_body_without_length_is_taken_if_its_digest_is_known(server, target):
    server.faults["/model.pkl"] = status(200, CONTENT)
    get(server, target, DIGEST)
    assert target.read_bytes() == CONTENT
    target.unlink()
    server.faults["/model.pkl"] = status(200, CONTENT[:-1])
    with pytest.raises(ValueError, match="It was thrown away"):
        get(server, target, DIGEST)


def test_a_body_in_chunks_has_an_end(server, target, monkeypatch):
    monkeypatch.setattr(download, "TRIES", 1)
    whole = b"4\r\nabcd\r\n3\r\nefg\r\n0\r\n\r\n"
    server.faults["/model.pkl"] = status(200, whole, Transfer_Encoding="chunked")
    assert get(server, target).read_bytes() == b"abcdefg"
    target.unlink()
    server.faults["/model.pkl"] = status(200, whole[:12], Transfer_Encoding="chunked")
    with pytest.raises(ConnectionError, match="the connection broke"):
        get(server, target)
    assert not target.exists()


def test_a_full_disk_is_told_before(server, target, monkeypatch):
    usage = shutil.disk_usage(target.parent.parent)._replace(free=6_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match=r"5\.1 MB are to come, 6\.0 MB are free in .*Make room"):
        get(server, target)
    assert not target.exists()


def test_no_server_at_all(target, monkeypatch):
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.0)
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1:9 cannot be reached .* put the file"):
        fetch("http://127.0.0.1:9/model.pkl", target, Expected())


def test_offline_the_cache_is_used_and_its_absence_explained(server, target, monkeypatch):
    monkeypatch.setenv("PANOPTIC_DEEPLAB_OFFLINE", "1")
    with pytest.raises(
        FileNotFoundError, match=r"PANOPTIC_DEEPLAB_OFFLINE forbids .* put the file"
    ):
        get(server, target)
    assert server.asked == []
    monkeypatch.delenv("PANOPTIC_DEEPLAB_OFFLINE")
    get(server, target)
    monkeypatch.setenv("PANOPTIC_DEEPLAB_OFFLINE", "true")
    assert get(server, target).read_bytes() == CONTENT


@pytest.mark.parametrize("text", ["sha1:00", "sha256:", "sha256:xyz", "0123", ":"])
def test_digests_of_another_form_are_refused(text):
    with pytest.raises(ValueError, match="Expected a digest such as"):
        parse_digest(text)
    assert parse_digest("SHA256:0AB") == "sha256:0ab"


# --- what several tests use -------------------------------------------------------------------

SCRIPT = """
import sys, logging
from pathlib import Path
logging.basicConfig(format="%(message)s")
from panoptic_deeplab.hub.download import fetch
from panoptic_deeplab.hub.verify import Expected
try:
    fetch(sys.argv[1], Path(sys.argv[2]), Expected())
except KeyboardInterrupt:
    sys.exit(130)
"""


def child(server: FileServer, target: Path) -> subprocess.Popen[str]:
    words: list[Any] = [sys.executable, "-c", SCRIPT, f"{server.url}/model.pkl", target]
    return subprocess.Popen(
        words,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
        preexec_fn=as_from_a_terminal,
    )


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
