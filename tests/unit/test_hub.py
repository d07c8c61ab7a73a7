"""Where weights may come from: names, paths, addresses, repositories."""

import json
import sys
from pathlib import Path

import pytest

from file_server import FileServer
from panoptic_deeplab import find_weights, hub
from panoptic_deeplab.find_weights import find_checkpoint
from panoptic_deeplab.hub import catalogue, embedded_weights, file_name, place_of, resolve, storage
from panoptic_deeplab.hub.catalogue import Entry, Source, published
from panoptic_deeplab.hub.contents import read_contents
from panoptic_deeplab.hub.huggingface import HubFile, fetch_from_hub, parse_hub
from panoptic_deeplab.weights_docs import catalogue_table, renew_weights

ROOT = Path(__file__).parents[2]
SOURCE = Source("somebody", "https://example.org", "free")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PANOPTIC_DEEPLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PANOPTIC_DEEPLAB_OFFLINE", raising=False)
    monkeypatch.delenv("http_proxy", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def server(tiny_weights: Path):
    server = FileServer()
    server.files["/models/tiny.safetensors"] = tiny_weights.read_bytes()
    yield server
    server.close()


def add(monkeypatch: pytest.MonkeyPatch, **fields: object) -> Entry:
    entry = Entry(**({"name": "one", "source": SOURCE, "backbone": "b", "data": "d"} | fields))
    monkeypatch.setattr(hub, "published", lambda: {entry.name: entry})
    return entry


# --- names and paths ------------------------------------------------------------------------


def test_every_embedded_name_is_in_the_catalogue_and_here():
    listed = {name for name, entry in published().items() if entry.embedded}
    assert listed == set(embedded_weights())
    for name in listed:
        assert resolve(name) == place_of(published()[name])
        assert resolve(name).name == f"{name}.safetensors"


def test_paths_are_taken_as_they_are(tiny_weights, tmp_path, monkeypatch):
    assert resolve(tiny_weights) == tiny_weights
    assert resolve(str(tiny_weights)) == tiny_weights
    monkeypatch.chdir(tmp_path)
    Path("nuclei").write_bytes(b"mine")
    assert resolve("./nuclei").read_bytes() == b"mine"
    assert resolve("nuclei").name == "nuclei.safetensors"


def test_slips_are_told(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"No weights named 'cityscape-r52'.*'cityscapes-r52'"
    ):
        resolve("cityscape-r52")
    with pytest.raises(FileNotFoundError, match=r"Expected a weights file at a/b\.pkl"):
        resolve("a/b.pkl")
    with pytest.raises(FileNotFoundError, match="is a folder"):
        resolve(tmp_path)
    for address in ("ftp://example.org/x", "s3://bucket/x"):
        with pytest.raises(ValueError, match="begins with https://"):
            resolve(address)
    with pytest.raises(ValueError, match="names no host"):
        resolve("https:///x")
    for odd in ("https://h:port/x", "https://[h/x"):
        with pytest.raises(ValueError, match=r"cannot be read \(.*\)\. Check it"):
            resolve(odd)
    with pytest.raises(ValueError, match="Passwords in addresses") as caught:
        resolve("https://me:secret@example.org/x")
    assert "secret" not in str(caught.value)


# --- addresses ------------------------------------------------------------------------------


def test_an_address_works_wherever_weights_are_accepted(server, tiny_weights, own_cache):
    address = f"{server.url}/models/tiny.safetensors?download=true"
    server.files["/models/tiny.safetensors?download=true"] = tiny_weights.read_bytes()
    checkpoint = find_checkpoint(address)
    assert checkpoint.provenance == {"made_for": "tests"}
    path = resolve(address)
    assert path.name == "tiny.safetensors"
    assert own_cache in path.parents
    assert len(server.asked) == 1


def test_an_address_may_carry_its_digest(server):
    address = f"{server.url}/models/tiny.safetensors"
    with pytest.raises(ValueError, match="expected 0000"):
        resolve(f"{address}#sha256=0000")
    with pytest.raises(ValueError, match="Expected a digest such as"):
        resolve(f"{address}#crc=0000")
    assert resolve(address).is_file(), "the same address without a digest is another file"


def test_addresses_may_hold_any_letter(server):
    server.files["/a%20b/%C3%A9.pth"] = b"one"
    assert resolve(f"{server.url}/a b/\u00e9.pth").read_bytes() == b"one"


def test_addresses_of_the_same_file_name_do_not_meet(server):
    server.files["/a/w.pth"], server.files["/b/w.pth"] = b"one", b"two"
    assert [resolve(f"{server.url}/{k}/w.pth").read_bytes() for k in "ab"] == [b"one", b"two"]


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://h/a/b.pkl", "b.pkl"),
        ("https://h/a/%2e%2e%2fb.pkl?x=/etc/passwd", "b.pkl"),
        ("https://h/..", "weights"),
        ("https://h/", "weights"),
        ("https://h", "weights"),
        ("https://h/.hidden", "hidden"),
        ("https://h/C:%5Cx\u00e9 y.pth", "x__y.pth"),
        ("https://h/" + "n" * 300 + ".pth", "n" * 96 + ".pth"),
    ],
)
def test_file_names_are_harmless(url, name):
    assert file_name(url) == name


# --- the catalogue --------------------------------------------------------------------------


def test_a_name_is_fetched_verified_and_kept(server, monkeypatch, own_cache):
    url = f"{server.url}/models/tiny.safetensors"
    add(monkeypatch, url=url, file="tiny.safetensors", digest="md5:000000")
    with pytest.raises(ValueError, match="expected 000000"):
        resolve("one")
    add(monkeypatch, url=url, file="tiny.safetensors")
    path = resolve("one")
    assert path == own_cache / "named" / "one" / "tiny.safetensors"
    monkeypatch.setenv("PANOPTIC_DEEPLAB_OFFLINE", "1")
    assert resolve("one") == path


def test_a_file_behind_a_browser_is_explained_and_may_be_put_into_its_place(monkeypatch):
    entry = add(monkeypatch, browser="https://example.org/page")
    place = place_of(entry)
    with pytest.raises(FileNotFoundError, match=rf"needs a browser.* put it at {place}"):
        resolve("one")
    place.parent.mkdir(parents=True)
    place.write_bytes(b"saved")
    assert resolve("one") == place


def test_the_catalogue_is_complete_and_consistent():
    for name, entry in published().items():
        assert name == name.lower().strip()
        assert sum(map(bool, (entry.embedded, entry.url, entry.browser))) == 1, name
        assert entry.source.licence, name
        assert entry.source.page
        assert all(v is None or 0 < v < 100 for v in (entry.pq, entry.ap, entry.miou))
        if entry.url:
            assert entry.url.startswith("https://dl.fbaipublicfiles.com/")
            assert entry.url.endswith(f"/{entry.file}")
        if entry.digest:  # the publisher writes it into the file's name
            assert entry.file == f"model_final_{entry.digest.removeprefix('md5:')}.pkl"
    assert {"cityscapes-r52", "cityscapes-r52-dsconv", "coco-r52-dsconv"} <= set(published())


def test_the_page_shows_the_catalogue_as_it_is():
    page = (ROOT / "docs" / "weights.md").read_text()
    assert renew_weights(page) == page, "run: panoptic-deeplab weights list --write docs/weights.md"
    assert catalogue_table().count("\n") == len(published()) + 1


def test_the_catalogue_file_names_no_unknown_field():
    plain = json.loads((Path(catalogue.__file__).parent / "catalogue.json").read_text())
    assert len({e["name"] for e in plain["weights"]}) == len(plain["weights"])


# --- where the cache is ---------------------------------------------------------------------


def test_the_cache_follows_its_variables(monkeypatch, tmp_path):
    assert storage.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("PANOPTIC_DEEPLAB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert storage.cache_folder() == tmp_path / "xdg" / "panoptic-deeplab"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert storage.cache_folder() == tmp_path / ".cache" / "panoptic-deeplab"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert storage.cache_folder() == tmp_path / "Library" / "Caches" / "panoptic-deeplab"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert storage.cache_folder() == tmp_path / "local" / "panoptic-deeplab" / "Cache"


@pytest.mark.parametrize(("text", "off"), [("1", True), ("Yes", True), ("0", False), ("", False)])
def test_offline_is_read_from_its_variable(monkeypatch, text, off):
    monkeypatch.setenv("PANOPTIC_DEEPLAB_OFFLINE", text)
    assert storage.is_offline() is off


# --- Hugging Face addresses -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("hf://org/repo", ("org/repo", "model.safetensors", None)),
        ("hf://org/re-po.1/sub/w.safetensors", ("org/re-po.1", "sub/w.safetensors", None)),
        ("hf://org/repo@refs/pr/1", ("org/repo", "model.safetensors", "refs/pr/1")),
        ("hf://org/repo/w.bin@v1.0", ("org/repo", "w.bin", "v1.0")),
    ],
)
def test_repositories_are_taken_apart(address, parts):
    assert parse_hub(address) == HubFile(*parts)


@pytest.mark.parametrize(
    "address",
    ["hf://", "hf://org", "hf://org/", "hf://org/repo/../x", "hf://org/repo@", "hf://a b/c"],
)
def test_other_forms_are_refused(address):
    with pytest.raises(ValueError, match="Expected hf://ORG/REPO"):
        parse_hub(address)


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r'pip install "panoptic-deeplab\[hub\]"'):
        fetch_from_hub("hf://org/repo")


# --- what is inside -------------------------------------------------------------------------


def test_contents_are_read_from_the_header(tiny_weights, tiny_model):
    contents = read_contents(tiny_weights)
    assert (contents.format, contents.kind, contents.format_version) == (
        "panoptic_deeplab",
        "model",
        2,
    )
    state = tiny_model.state_dict()
    assert {t.name: t.shape for t in contents.tensors} == {
        k: tuple(v.shape) for k, v in state.items()
    }
    assert sum(contents.kinds.values()) == sum(v.numel() for v in state.values())
    assert contents.parts["center_head"] == sum(
        v.numel() for k, v in state.items() if k.startswith("center_head.")
    )
    assert contents.header["experiment"]["name"] == "tiny"
    assert contents.header["provenance"] == {"made_for": "tests"}
    assert json.loads(json.dumps(contents.to_dict()))["num_tensors"] == len(state)


def test_contents_of_other_files(tmp_path):
    import numpy as np
    from safetensors.numpy import save_file

    save_file({"a.b": np.zeros((2, 3), np.float16)}, tmp_path / "x", {"made": "elsewhere"})
    contents = read_contents(tmp_path / "x")
    assert (contents.format, contents.header) == ("safetensors", {"header": {"made": "elsewhere"}})
    assert contents.tensors[0].shape == (2, 3)
    (tmp_path / "y.pkl").write_bytes(b"\x80\x04N.")
    with pytest.raises(ValueError, match="it holds no dictionary of weights"):
        read_contents(tmp_path / "y.pkl")
    with pytest.raises(FileNotFoundError, match="there is none"):
        read_contents(tmp_path / "gone")


def test_contents_of_a_later_version_are_refused(tmp_path):
    import numpy as np
    from safetensors.numpy import save_file

    header = {"format": "panoptic_deeplab", "format_version": "99"}
    save_file({"a": np.zeros(1)}, tmp_path / "x", header)
    with pytest.raises(ValueError, match="Update the package"):
        read_contents(tmp_path / "x")


def test_there_is_one_place_that_finds_weights():
    assert find_weights.resolve is hub.resolve
