"""Fetching banks, with registries of the test's own in place of apt's: what holds when things go wrong."""

import tarfile
from hashlib import sha256
from io import BytesIO

import pytest

from data.things import BankMissing, fetch, has_bank, sources
from data.things.fetch import fetch_bank, fetch_banks, main
from data.things.sources import SourceError, bank_folder

CONTENT = b"three chairs"
TABLE = """
models:
  what: 3D models
  registry: debian
  package: chairs
  version: '1'
  licence: CC0
  bytes: 100
  files: {{usr/share/chairs.sh3f: {sha256}}}
"""
APT = """#!/bin/sh
echo called >> {log}
{failure}
touch chairs_1_all.deb
"""


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A table with one source, and an apt that has it. Calling it writes apt anew: with a failure, or other content."""
    monkeypatch.setenv("NEXTGPT_LITE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    table, log = tmp_path / "sources.yaml", tmp_path / "log"
    table.write_text(TABLE.format(sha256=sha256(CONTENT).hexdigest()))
    monkeypatch.setattr(sources, "TABLE", table)
    monkeypatch.setitem(fetch.BUILDERS, "models", lambda files, out: (out / "bank").write_bytes(CONTENT))
    sources.read_sources.cache_clear()

    def serve(failure="", content=CONTENT):
        with tarfile.open(tmp_path / "content.tar", "w") as archive:
            member = tarfile.TarInfo("./usr/share/chairs.sh3f")
            member.size = len(content)
            archive.addfile(member, BytesIO(content))
        scripts = {
            "apt-get": APT.format(log=log, failure=failure),
            "dpkg-deb": f"#!/bin/sh\ncat {tmp_path}/content.tar\n",
        }
        for name, script in scripts.items():
            (tmp_path / name).write_text(script)
            (tmp_path / name).chmod(0o755)
        return lambda: log.read_text().count("called") if log.exists() else 0

    yield serve
    sources.read_sources.cache_clear()


def test_a_bank_is_made_once(registry):
    calls = registry()
    with pytest.raises(BankMissing, match=r"`python -m data\.things\.fetch models`"):
        bank_folder("models")
    assert fetch_bank("models") == fetch_bank("models") == bank_folder("models")
    assert (bank_folder("models") / "bank").read_bytes() == CONTENT
    assert calls() == 1
    assert not (sources.data_folder() / "downloads" / "models").exists()


def test_after_an_interruption_nothing_is_downloaded_again(registry, monkeypatch):
    calls, right = registry(), fetch.BUILDERS["models"]

    def interrupted(files, out):
        right(files, out)
        raise KeyboardInterrupt

    monkeypatch.setitem(fetch.BUILDERS, "models", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch_bank("models")
    assert not has_bank("models")
    monkeypatch.setitem(fetch.BUILDERS, "models", right)
    assert fetch_bank("models").is_dir() and calls() == 1
    assert [path.name for path in sources.data_folder().iterdir() if path.name != "downloads"] == ["models"]


def test_what_goes_wrong_is_one_sentence_and_leaves_nothing_behind(registry, monkeypatch, tmp_path, capsys):
    registry(content=b"two tables")
    with pytest.raises(SourceError, match=r"chairs\.sh3f of chairs is [0-9a-f]{64}, expected sha256"):
        fetch_banks()
    registry(failure="echo 'E: Temporary failure resolving x' >&2; exit 100")
    with pytest.raises(SourceError, match="apt-get cannot reach its registry to fetch chairs"):
        fetch_bank("models")
    registry(failure="echo 'E: Unable to locate package chairs' >&2; exit 100")
    assert main(["models"]) == 2
    assert capsys.readouterr().err == "models: apt-get cannot fetch chairs: E: Unable to locate package chairs\n"
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(SourceError, match="there is no apt-get on this machine"):
        fetch_bank("models")
    with pytest.raises(SourceError, match="unknown data 'model': did you mean 'models'"):
        fetch_banks(["model"])
    assert not has_bank("models")


def test_a_cache_that_cannot_be_written_is_said(registry, monkeypatch, tmp_path):
    registry()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NEXTGPT_LITE_CACHE", str(tmp_path / "file"))
    with pytest.raises(SourceError, match=r"models cannot be kept in .*: Not a directory"):
        fetch_bank("models")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["animations", "sounds", "models"])
def test_the_banks_of_the_table_are_made(name):
    """Into the cache folder of this machine, where training looks for them."""
    try:
        fetch_bank(name)
    except SourceError as error:
        pytest.skip(str(error))
    assert has_bank(name)
