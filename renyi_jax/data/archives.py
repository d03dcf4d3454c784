"""Files of published data sets: found where the user put them or downloaded, and read.

TFDS can extract archives too, but needs TensorFlow to.
"""

import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import requests
import tensorflow_datasets as tfds
from absl import logging
from etils import epath
from tensorflow_datasets.core.download.checksums import compute_url_info
from tensorflow_datasets.core.download.resource import get_dl_fname

from renyi_jax.errors import UserError

_PATIENCE = 10  # seconds in which a server has to answer


def find_file(builder: tfds.core.DatasetBuilder, dl_manager: Any, url: str) -> epath.Path:
    """Returns the file of a URL: from `manual_dir` by its published name, else downloaded.

    A download must have the registered size and checksum; of a file that the user brought another
    one is a warning, since people trim data sets.

    Raises UserError: its server cannot be reached, or does not have it.
    """
    published = (builder.url_infos or {})[url]
    folder = manual_dir(dl_manager)
    brought = folder and folder / url.rsplit("/", 1)[1]
    if not brought or not brought.exists():
        downloaded = get_dl_fname(url, published.checksum)
        if not (dl_manager.download_dir / builder.name / downloaded).exists():
            _check_server(url)
        return dl_manager.download(url)
    found = compute_url_info(brought)
    if found != published:
        logging.warning(
            "%s is not the published file: it has %d bytes and the SHA-256 %s; %s has %d bytes and "
            "%s. It is taken as it is.",
            *(brought, int(found.size), found.checksum),
            *(url, int(published.size), published.checksum),
        )
    return brought


def _check_server(url: str) -> None:
    """Asks once, where TFDS would ask ten times over several minutes."""
    try:
        with requests.get(url, stream=True, timeout=_PATIENCE) as response:
            if response.ok:
                return
            problem = f"its server answers {response.status_code} {response.reason}"
    except requests.RequestException:
        problem = f"no connection to {urlsplit(url).netloc}"
    raise UserError(f"{url} cannot be downloaded: {problem}.")


def check_count(source: object, split: str, found: int, published: int) -> None:
    """Raises UserError where a split has no image; warns where it lacks published ones."""
    if not found:
        raise UserError(f"{source} lists no image of the split {split}.")
    if found != published:
        logging.warning(
            "%s lists %d images of the split %s; %d were published.",
            *(source, found, split, published),
        )


def manual_dir(dl_manager: Any) -> epath.Path | None:
    """The folder of what the user brought; None where there is none or it is empty."""
    try:
        return dl_manager.manual_dir
    except AssertionError:  # how TFDS says it
        return None


def list_files(folder: epath.Path) -> list[PurePosixPath]:
    """Names, sorted, of all files in a folder and the folders in it; hidden ones are left out."""
    names = []
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            names += [entry.name / name for name in list_files(entry)]
        else:
            names.append(PurePosixPath(entry.name))
    return names


def iter_files(
    path: epath.Path, wanted: Callable[[PurePosixPath], bool]
) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Yields names and contents of the wanted files in a folder or a tar archive of any
    compression.

    Raises UserError for what is no whole tar archive.
    """
    if path.is_dir():
        for name in list_files(path):
            if wanted(name):
                yield name, (path / name).read_bytes()
        return
    try:
        with path.open("rb") as stream, tarfile.open(fileobj=stream, mode="r|*") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                if wanted(name) and (file := archive.extractfile(member)):
                    yield name, file.read()
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is not a whole tar archive: {error}.") from error
