"""Files of public data: where they are looked for, how they are checked, where they come from.

A file is used only if its sha256 is the one written in ``registry.txt``. Nothing that a user put into a folder is ever
changed: a damaged file there is reported, not replaced.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import pooch
from tqdm import tqdm

from pitskd._validation import shorten, wrong

__all__ = ["DatasetError", "RemoteFile", "fetch", "registry"]

DATA_HOME_VARIABLE = "PITSKD_DATA_HOME"


class DatasetError(OSError):
    """Tell that a data file cannot be had, is damaged, or does not hold what its name says.

    Examples
    --------
    >>> issubclass(DatasetError, OSError)
    True
    """


@dataclass(frozen=True)
class RemoteFile:
    """One line of the registry: a public file and how to know it again.

    Parameters
    ----------
    name : str
        Where the file lies in a data folder, with forward slashes.
    sha256 : str
        64 hexadecimal digits.
    size : int
        Unit: bytes.
    address : str
        Where it is downloaded from.

    Examples
    --------
    >>> registry()["pm25/beijing.csv"].size
    3173618
    """

    name: str
    sha256: str
    size: int
    address: str


@cache
def registry() -> Mapping[str, RemoteFile]:
    """Return all files that pitskd can fetch, by name.

    Examples
    --------
    >>> sorted({name.split("/")[0] for name in registry()})
    ['pm25', 'skab', 'tep']
    """
    text = (resources.files("pitskd.datasets") / "registry.txt").read_text(encoding="utf-8")
    lines = (line.split() for line in text.splitlines() if line.strip() and not line.startswith("#"))
    return {name: RemoteFile(name, sha256, int(size), address) for sha256, size, name, address in lines}


def fetch(name: str, data_home: str | os.PathLike[str] | None = None, *, originals: Sequence[str] = ()) -> Path:
    """Return the path of a data file, downloading it if it is in none of the data folders.

    Folders are searched in this order: `data_home`, the environment variable ``PITSKD_DATA_HOME``, the cache of the
    user. A download goes to `data_home` if given, else to ``PITSKD_DATA_HOME`` if set and writable, else to the cache.

    Parameters
    ----------
    name : str
        A name of the registry, such as ``"pm25/beijing.csv"``.
    data_home : str or path, default=None
        Folder of data files; created if something is downloaded into it.
    originals : sequence of str, default=()
        Names under which the publisher hands out the same table. Such a file is accepted in a data folder or beside the
        place of `name` there, **without** a check of its hash: the caller looks at what it holds.

    Returns
    -------
    path : Path
        An existing file: with the right hash, or one of `originals`.

    Raises
    ------
    DatasetError
        If a file found has another hash, or if none is found and the download fails. A failed or stopped download
        leaves no file behind.
    ValueError
        If the registry has no file `name`, or `data_home` is no folder.

    Examples
    --------
    >>> fetch("london.csv")
    Traceback (most recent call last):
        ...
    ValueError: name must be a file of the registry, got london.csv. It has files in: pm25, skab, tep.
    """
    entry = _entry(name)
    folders = _folders(data_home)
    for folder in folders:
        found = _look(folder, entry, originals)
        if found is not None:
            return found
    return _download(entry, _download_folder(folders, data_home), originals)


def _entry(name: str) -> RemoteFile:
    files = registry()
    if name not in files:
        room = str(name).rpartition("/")[0]
        beside = [file.rpartition("/")[2] for file in files if file.rpartition("/")[0] == room]
        rooms = sorted({file.partition("/")[0] for file in files})
        step = f"In {room} it has: {', '.join(beside)}." if beside else f"It has files in: {', '.join(rooms)}."
        raise wrong("name", "a file of the registry", name, step)
    return files[name]


def _folders(data_home: Any) -> list[Path]:
    """Return the data folders in order of search; the cache is the last."""
    named = [("data_home", data_home), (DATA_HOME_VARIABLE, os.environ.get(DATA_HOME_VARIABLE) or None)]
    return [*(_folder(who, folder) for who, folder in named if folder is not None), Path(pooch.os_cache("pitskd"))]


def _folder(who: str, folder: Any) -> Path:
    step = "Pass the folder that holds the data files, or one where they may be put."
    if not isinstance(folder, str | os.PathLike):
        raise wrong(who, "the path of a folder", folder, step, TypeError)
    path = Path(folder).expanduser()
    if path.exists() and not path.is_dir():
        raise wrong(who, "the path of a folder", str(path), step)
    return path


def _look(folder: Path, entry: RemoteFile, originals: Sequence[str]) -> Path | None:
    path = folder / entry.name
    if path.is_file():
        _check_hash(path, entry)
        return path
    places = (place / original for original in originals for place in (folder, path.parent))
    return next((place for place in places if place.is_file()), None)


def _check_hash(path: Path, entry: RemoteFile) -> None:
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != entry.sha256:
        raise DatasetError(
            f"{path} is damaged or another version: it must have sha256 {entry.sha256}, got {found}. "
            f"Delete it, or replace it by {entry.address}."
        )


def _download_folder(folders: Sequence[Path], data_home: Any) -> Path:
    # A shared read-only folder in the environment should not keep a file from being fetched; an argument is an order.
    return folders[0] if data_home is not None or _writable(folders[0]) else folders[-1]


def _writable(folder: Path) -> bool:
    nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def _download(entry: RemoteFile, folder: Path, originals: Sequence[str]) -> Path:
    path = folder / entry.name
    new = [place for place in (path.parent, *path.parent.parents) if not place.exists()]
    try:
        # pooch writes beside the target, checks the hash and renames: no other process sees half a file.
        with ExitStack() as open_things:
            _silence(open_things)
            pooch.retrieve(
                entry.address,
                known_hash=f"sha256:{entry.sha256}",
                fname=path.name,
                path=path.parent,
                downloader=_downloader(entry, open_things),
            )
    except OSError as error:  # all errors of the connection are OSErrors too
        _remove_empty(new)
        raise _unavailable(entry, path, originals, shorten(str(error), 200)) from None
    except ValueError:
        _remove_empty(new)
        raise _unavailable(entry, path, originals, "what came has another sha256") from None
    return path


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders, the deepest first, that a failed download leaves behind."""
    with suppress(OSError):  # the first that holds something ends it
        for folder in folders:
            folder.rmdir()


def _silence(open_things: ExitStack) -> None:
    """Let the progress bar speak alone while pooch works; its logger is everyone's and gets its level back."""
    logger = pooch.get_logger()
    open_things.callback(logger.setLevel, logger.level)
    logger.setLevel("WARNING")


def _downloader(entry: RemoteFile, open_things: ExitStack) -> Any:
    """Return pooch's downloader with a progress bar; bar and connection, which it leaves open on errors, are ours."""
    bar: Any = open_things.enter_context(tqdm(desc=entry.name, total=entry.size, unit="B", unit_scale=True, delay=0.1))

    def close_at_the_end(response: Any, *args: Any, **kwargs: Any) -> None:
        open_things.callback(response.close)

    return pooch.HTTPDownloader(progressbar=bar, chunk_size=2**16, hooks={"response": close_at_the_end})


def _unavailable(entry: RemoteFile, path: Path, originals: Sequence[str], reason: str) -> DatasetError:
    also = f" The publisher's {' or '.join(originals)} is accepted in that folder too." if originals else ""
    return DatasetError(
        f"{entry.name} is in no data folder and could not be downloaded to {path.parent}: {reason}. "
        f"Get {entry.address} (sha256 {entry.sha256}) and save it as {path}; any other folder that holds "
        f"{entry.name} can be passed as data_home or set as {DATA_HOME_VARIABLE}.{also}"
    )
