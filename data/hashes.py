"""sha256 sums of large files, read once: a file of the same place, size and times is not read again.

What is below :data:`LEAST` bytes is always read, and so is what has changed within the last seconds, since a further
change might leave no trace in its times. ``nextgpt_lite`` checks components by these sums at every start.
"""

import hashlib
import time
from pathlib import Path

from data.atomic import hash_file, hash_folder, write_text
from data.parts import PartError, cache_folder

#: Bytes from which on a sum is kept, and seconds for which a file must have been left alone.
LEAST, SETTLED = 2**24, 10


def kept_hash(path: str | Path) -> str:
    """As data.atomic.hash_folder of a folder, or hash_file of a file."""
    path = Path(path)
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    found = [(file, file.stat()) for file in files]
    newest = max((max(stat.st_mtime, stat.st_ctime) for _, stat in found), default=0.0)
    if sum(stat.st_size for _, stat in found) < LEAST or time.time() - newest < SETTLED:
        return _read(path)
    facts = [(str(file.resolve()), s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for file, s in found]
    names = [file.relative_to(path).as_posix() for file in files]
    try:
        place = cache_folder() / "hashes" / hashlib.sha256(repr((facts, names)).encode()).hexdigest()
        if place.is_file() and len(known := place.read_text(encoding="ascii").strip()) == 64:
            return known
        made = _read(path)
        write_text(place, made + "\n")
    except (OSError, PartError):  # no place to keep it in
        return _read(path)
    return made


def _read(path: Path) -> str:
    return hash_folder(path) if path.is_dir() else hash_file(path)
