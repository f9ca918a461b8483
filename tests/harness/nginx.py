import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

_CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        {location}
    }}
}}
"""


@contextlib.contextmanager
def proxying(nginx: str, folder: Path, port: int, location: str) -> Iterator[None]:
    """A real nginx on the port, with its own defaults but for one location."""
    folder.mkdir()
    configuration = folder / "nginx.conf"
    configuration.write_text(_CONFIGURATION.format(folder=folder, port=port, location=location))
    command = [nginx, "-c", str(configuration), "-p", str(folder), "-e", "stderr"]
    with (folder / "errors").open("wb") as errors, subprocess.Popen(command, stderr=errors) as process:  # noqa: S603  our own
        try:
            yield
        finally:
            process.terminate()
            process.wait(10)
