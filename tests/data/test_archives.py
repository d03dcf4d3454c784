"""Downloads, from a server on this machine."""

import functools
import http.server
import socket
import threading

import archives
import pytest
from tensorflow_datasets.core.download.checksums import compute_url_info

from renyi_jax.data import archives as archives_of_package
from renyi_jax.data import fgvc_aircraft
from renyi_jax.data.datasets import load_dataset
from renyi_jax.data.fgvc_aircraft import FgvcAircraft
from renyi_jax.errors import UserError

NAME = "fgvc-aircraft-2013b.tar.gz"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def served(tmp_path):
    """The folder that a server shows, and the server."""
    folder = tmp_path / "served"
    folder.mkdir()
    archives.write_tar(folder / NAME, archives.aircraft_files())
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, server
        server.shutdown()


@pytest.fixture
def publish(monkeypatch):
    """Makes the address of a port on this machine the published one of the aircraft."""

    published = FgvcAircraft.url_infos[fgvc_aircraft._URL]

    def change(port, info=published):
        url = f"http://127.0.0.1:{port}/{NAME}"
        monkeypatch.setattr(fgvc_aircraft, "_URL", url)
        monkeypatch.setattr(FgvcAircraft, "url_infos", {url: info})

    return change


@pytest.fixture
def load(configure, tmp_path):
    def with_level(level="variant"):
        return load_dataset(
            configure(
                name="fgvc_aircraft",
                builder_config=level,
                train_split="trainval",
                data_dir=str(tmp_path / "data"),
            )
        )

    return with_level


def test_a_download_is_built_and_serves_the_next_build_without_a_network(served, publish, load):
    folder, server = served
    publish(server.server_port, compute_url_info(folder / NAME))
    assert len(load().train) == 11
    server.shutdown()
    server.server_close()
    assert load("family").num_classes == 70


def test_a_download_with_another_checksum_than_the_published_one_is_refused(served, publish, load):
    publish(served[1].server_port)
    with pytest.raises(UserError, match=r"wrong checksum(.|\n)*Get https://www.robots"):
        load()


def test_a_file_that_its_server_does_not_have_is_told(served, publish, load):
    folder, server = served
    (folder / NAME).unlink()
    publish(server.server_port)
    with pytest.raises(UserError, match="its server answers 404 File not found") as error:
        load()
    assert "give its folder as manual_dir" in str(error.value)


@pytest.mark.parametrize("accepts", [False, True], ids=["refuses", "never answers"])
def test_without_a_connection_one_message_comes_at_once(publish, load, monkeypatch, accepts):
    monkeypatch.setattr(archives_of_package, "_PATIENCE", 0.1)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if accepts:
            listener.listen()
        publish(listener.getsockname()[1])
        with pytest.raises(UserError, match=r"no connection to 127\.0\.0\.1") as error:
            load()
    assert "give its folder as manual_dir" in str(error.value)
