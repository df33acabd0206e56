"""Laws of fetching files: what is used is what the registry names, and nothing of the user's is touched."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources

import pooch
import pytest
from tqdm import tqdm

from pitskd.datasets import _remote
from pitskd.datasets._remote import DatasetError, RemoteFile, fetch, registry

GOOD = b"hour,pm2.5\n" + b"0,17\n" * 40_000
SHA256 = hashlib.sha256(GOOD).hexdigest()
NAME = "pm25/small.csv"


class Handler(BaseHTTPRequestHandler):
    """Serve a good file, another one, and one that ends too early."""

    def do_GET(self):
        self.server.asked[self.path] += 1
        if self.path == "/missing.csv":
            self.send_error(404)
            return
        body = b"not the file" if self.path == "/other.csv" else GOOD
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.path == "/broken.csv" else body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = Counter()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Keep the tests away from the user's cache and from the outside network."""
    connect = socket.socket.connect

    def connect_at_home(sock, address):
        assert address[0] == "127.0.0.1", f"a test asked for {address}"
        return connect(sock, address)

    monkeypatch.setattr(socket.socket, "connect", connect_at_home)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("PITSKD_DATA_HOME", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def offer(server, monkeypatch):
    """Put one file into the registry, to be had at an address of the local server."""

    def offer(path="/good.csv"):
        address = f"http://127.0.0.1:{server.server_port}{path}"
        monkeypatch.setattr(_remote, "registry", lambda: {NAME: RemoteFile(NAME, SHA256, len(GOOD), address)})
        return address

    return offer


@pytest.fixture
def bars(monkeypatch):
    made = []

    class Recorded(tqdm):
        def __init__(self, *args, **kwargs):
            made.append(self)
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(_remote, "tqdm", Recorded)
    return made


def put(folder, content=GOOD, name=NAME):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def files_in(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


# ---------------------------------------------------------------- the registry


def test_registry_is_the_complete_set_of_files():
    skab = {"anomaly-free/anomaly-free", *(f"other/{i}" for i in range(1, 15))}
    skab |= {f"valve1/{i}" for i in range(16)} | {f"valve2/{i}" for i in range(4)}
    cities = ("beijing", "beijing_us_embassy", "chengdu", "guangzhou", "shanghai", "shenyang")
    assert set(registry()) == {
        *(f"pm25/{city}.csv" for city in cities),
        *(f"skab/{run}.csv" for run in skab),
        *(f"tep/d{fault:02d}{part}.dat" for fault in range(22) for part in ("", "_te")),
    }


def test_every_file_has_a_hash_a_size_and_a_pinned_https_address():
    for name, file in registry().items():
        assert file.name == name
        assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
        assert file.size > 0
        assert re.fullmatch(r"https://raw\.githubusercontent\.com/[^/]+/[^/]+/[0-9a-f]{40}/\S+", file.address)


def test_no_two_files_share_a_hash_or_an_address():
    files = registry().values()
    assert len({file.sha256 for file in files}) == len({file.address for file in files}) == len(files)


def test_registry_lies_in_the_package():
    assert (resources.files("pitskd.datasets") / "registry.txt").is_file()


# ---------------------------------------------------------------- search


def test_folders_are_searched_in_order_argument_environment_cache(tmp_path, cache, offer, server, monkeypatch):
    offer()
    monkeypatch.setenv("PITSKD_DATA_HOME", str(tmp_path / "env"))
    paths = [put(cache), put(tmp_path / "env"), put(tmp_path / "home")]
    while paths:
        assert fetch(NAME, tmp_path / "home") == paths[-1]
        paths.pop().unlink()
    assert not server.asked


def test_an_empty_environment_variable_counts_as_unset(cache, offer, monkeypatch):
    offer()
    monkeypatch.setenv("PITSKD_DATA_HOME", "")
    assert fetch(NAME) == cache / NAME


def test_tilde_is_the_home_of_the_user(tmp_path, offer, monkeypatch):
    offer()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert fetch(NAME, "~/data") == tmp_path / "data" / NAME


@pytest.mark.parametrize("where", ["argument", "environment", "cache"])
def test_a_damaged_file_is_reported_and_neither_used_nor_changed(where, tmp_path, cache, offer, server, monkeypatch):
    address = offer()
    folder = cache if where == "cache" else tmp_path / "mine"
    if where == "environment":
        monkeypatch.setenv("PITSKD_DATA_HOME", str(folder))
    path = put(folder, GOOD + b"x")
    got = hashlib.sha256(GOOD + b"x").hexdigest()
    message = f"{path} is damaged .* must have sha256 {SHA256}, got {got}. Delete it, or replace it by {address}"
    with pytest.raises(DatasetError, match=message):
        fetch(NAME, folder if where == "argument" else None)
    assert path.read_bytes() == GOOD + b"x"
    assert not server.asked


@pytest.mark.parametrize("place", ["original.csv", "pm25/original.csv"])
def test_an_original_is_accepted_in_the_folder_or_beside_the_file(place, tmp_path, offer, server):
    offer()
    path = put(tmp_path, b"any content", place)
    assert fetch(NAME, tmp_path, originals=["original.csv"]) == path
    put(tmp_path)
    assert fetch(NAME, tmp_path, originals=["original.csv"]) == tmp_path / NAME
    assert not server.asked


def test_nothing_is_shown_when_the_file_is_at_hand(tmp_path, offer, bars, capfd):
    offer()
    put(tmp_path)
    fetch(NAME, tmp_path)
    assert not bars
    assert capfd.readouterr() == ("", "")


# ---------------------------------------------------------------- download


@pytest.mark.parametrize("where", ["argument", "environment", "cache"])
def test_a_file_found_nowhere_is_downloaded_once(where, tmp_path, cache, offer, server, bars, monkeypatch):
    offer()
    folder = cache if where == "cache" else tmp_path / "new"
    if where == "environment":
        monkeypatch.setenv("PITSKD_DATA_HOME", str(folder))
    for _ in range(2):
        path = fetch(NAME, folder if where == "argument" else None)
        assert path == folder / NAME
        assert path.read_bytes() == GOOD
    assert server.asked == {"/good.csv": 1}
    assert files_in(tmp_path) == [path]
    assert len(bars) == 1
    assert bars[0].n == bars[0].total == len(GOOD)


def test_an_argument_is_an_order_even_when_the_environment_names_a_folder(tmp_path, offer, monkeypatch):
    offer()
    monkeypatch.setenv("PITSKD_DATA_HOME", str(tmp_path / "env"))
    assert fetch(NAME, tmp_path / "home") == tmp_path / "home" / NAME


def test_an_unwritable_folder_in_the_environment_gives_way_to_the_cache(tmp_path, cache, offer, monkeypatch):
    offer()
    monkeypatch.setenv("PITSKD_DATA_HOME", str(tmp_path / "read_only"))
    (tmp_path / "read_only").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert fetch(NAME) == cache / NAME


def test_a_folder_in_the_environment_that_cannot_be_made_gives_way_to_the_cache(tmp_path, cache, offer, monkeypatch):
    offer()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PITSKD_DATA_HOME", str(tmp_path / "file" / "below"))
    assert fetch(NAME) == cache / NAME


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/missing.csv", "404"), ("/broken.csv", "Connection broken"), ("/other.csv", "what came has another sha256")],
)
def test_a_failed_download_says_what_to_put_where_and_leaves_no_file(path, reason, tmp_path, offer):
    address = offer(path)
    target = tmp_path / "home" / NAME
    with pytest.raises(DatasetError, match=reason) as caught:
        fetch(NAME, tmp_path / "home", originals=["original.csv"])
    for told in (address, SHA256, f"save it as {target}", "data_home", "PITSKD_DATA_HOME", "original.csv is accepted"):
        assert told in str(caught.value)
    assert files_in(tmp_path) == []


def test_without_a_network_the_same_error_comes(tmp_path, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: every connection is refused
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/good.csv"
        monkeypatch.setattr(_remote, "registry", lambda: {NAME: RemoteFile(NAME, SHA256, len(GOOD), address)})
        with pytest.raises(DatasetError, match=f"could not be downloaded .*Get {address} .*{SHA256}.* save it as"):
            fetch(NAME)
    assert files_in(tmp_path) == []


def test_a_folder_that_cannot_be_made_gives_the_same_error(tmp_path, offer):
    offer()
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match=r"could not be downloaded to .*below.*: .*[Dd]irectory"):
        fetch(NAME, tmp_path / "file" / "below")


def test_a_stopped_download_leaves_no_file_and_the_next_one_succeeds(tmp_path, offer, monkeypatch):
    class Stopped(tqdm):
        def update(self, n=1):
            raise KeyboardInterrupt("stopped by the user")

    offer()
    with monkeypatch.context() as patch:
        patch.setattr(_remote, "tqdm", Stopped)
        with pytest.raises(KeyboardInterrupt, match="stopped by the user"):
            fetch(NAME, tmp_path / "home")
    assert files_in(tmp_path) == []
    assert fetch(NAME, tmp_path / "home").read_bytes() == GOOD


def test_concurrent_calls_leave_one_good_file(tmp_path, offer):
    offer()
    together = threading.Barrier(6)

    def call(_):
        together.wait()
        return fetch(NAME, tmp_path / "home").read_bytes()

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(call, range(6))) == {GOOD}
    assert files_in(tmp_path) == [tmp_path / "home" / NAME]


# ---------------------------------------------------------------- arguments


def test_an_unknown_file_is_refused_with_those_beside_it():
    with pytest.raises(ValueError, match=r"name must be a file of the registry, got pm25/x.csv. In pm25 .*beijing.csv"):
        fetch("pm25/x.csv")
    with pytest.raises(ValueError, match=r"got x.csv. It has files in: pm25, skab, tep."):
        fetch("x.csv")


def test_a_data_home_that_is_no_folder_is_refused(tmp_path, monkeypatch):
    with pytest.raises(TypeError, match="data_home must be the path of a folder, got 3"):
        fetch("pm25/beijing.csv", 3)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"data_home must be the path of a folder, got .*file"):
        fetch("pm25/beijing.csv", tmp_path / "file")
    monkeypatch.setenv("PITSKD_DATA_HOME", str(tmp_path / "file"))
    with pytest.raises(ValueError, match=r"PITSKD_DATA_HOME must be the path of a folder, got .*file"):
        fetch("pm25/beijing.csv")


def test_a_failed_download_leaves_no_folder_behind(tmp_path, monkeypatch):
    monkeypatch.delenv("PITSKD_DATA_HOME", raising=False)
    with pytest.raises(DatasetError, match="could not be downloaded"):
        fetch("skab/other/1.csv", tmp_path / "data")
    assert not list(tmp_path.iterdir())
