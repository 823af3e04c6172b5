"""A real S3 server for the tests: SeaweedFS, one process on loopback, no root and no set-up.

    with S3Server() as server:
        bucket = server.make_bucket()
        S3Pool(bucket, **server.options())

It knows three people: ``admin`` may do all, ``reader`` only read and list, ``other`` only use the bucket
``other``. Nothing is sent anywhere: its telemetry is off.
"""

from __future__ import annotations

import http.client
import json
import shutil
import sys
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from servers.processes import free_ports, kill, start, wait_until
from servers.signing import Answer, Identity, request

if TYPE_CHECKING:
    import subprocess
    from types import TracebackType

ADMIN = Identity("TESTADMIN", "secret/of+admin/0123456789abcdef")
READER = Identity("TESTREADER", "secret/of+reader/0123456789abcdef")
OTHER = Identity("TESTOTHER", "secret/of+other/0123456789abcdef")

_LISTENERS = ("master.port", "volume.port", "filer.port", "s3.port", "admin.port")


class S3Server:
    """The server, its data in a folder of its own until :meth:`close`."""

    name: ClassVar[str] = "SeaweedFS"
    admin = ADMIN
    reader = READER
    other = OTHER

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="laila-s3-server-"))
        self._log = self.folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._prepare()
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        """Choose the ports and write the configuration."""
        names = [name for port in _LISTENERS for name in (port, f"{port}.grpc")]
        self._ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.port = self._ports["s3.port"]
        every = ["Admin", "Read", "Write", "List", "Tagging"]
        people = [
            ("admin", ADMIN, every),
            ("reader", READER, ["Read", "List"]),
            ("other", OTHER, ["Read:other", "Write:other", "List:other"]),
        ]
        identities = [
            {
                "name": name,
                "credentials": [{"accessKey": who.access_key, "secretKey": who.secret_key}],
                "actions": actions,
            }
            for name, who, actions in people
        ]
        (self.folder / "s3.json").write_text(json.dumps({"identities": identities}))
        (self.folder / "data").mkdir()

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.port}"

    def options(self, who: Identity = ADMIN) -> dict[str, str]:
        """What ``S3Pool(bucket, **options)`` needs to reach it."""
        return {
            "endpoint_url": self.endpoint,
            "access_key_id": who.access_key,
            "secret_access_key": who.secret_key,
            "region_name": "us-east-1",
        }

    def variables(self) -> dict[str, str]:
        """The same as environment variables, for other processes."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.admin.access_key,
            "AWS_SECRET_ACCESS_KEY": self.admin.secret_key,
            "AWS_REGION": "us-east-1",
        }

    def request(self, method: str, path: str, who: Identity = ADMIN, **more: object) -> Answer:
        """Send one signed request; see :func:`servers.signing.request`."""
        return request(self.endpoint, who, method, path, **more)  # type: ignore[arg-type]  # passed on

    def make_bucket(self, name: str | None = None) -> str:
        """Make a bucket, by default one that nobody else has; return its name."""
        name = name or f"test-{uuid.uuid4().hex[:20]}"
        answer = self.request("PUT", f"/{name}")
        if answer.status not in (200, 409):
            raise RuntimeError(f"no bucket {name}: {answer}")
        return name

    def start(self) -> None:
        """Start, or start again on the same ports and data; return when it answers."""
        # An environment that is a layer over another one has its programs there.
        # A path is `PREFIX/lib/pythonX/site-packages`.
        packages = (Path(path) for path in sys.path if Path(path).name == "site-packages")
        folders = (Path(sys.executable).parent, *(path.parent.parent.parent / "bin" for path in packages))
        weed = next(place / "weed" for place in folders if (place / "weed").is_file())
        command = [
            *(str(weed), "mini", f"-dir={self.folder / 'data'}"),
            *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false"),
            *(f"-s3.config={self.folder / 's3.json'}", "-s3.autoCreateBucket=false"),
            *("-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
            *("-master.electionTimeout=1s", "-volume.preStopSeconds=0"),
            *("-master.volumeSizeLimitMB=256", "-volume.max=100"),
            *(f"-{name}={port}" for name, port in self._ports.items()),
        ]
        self._process = start(
            command, self._log, folder=self.folder, environment={"GOMEMLIMIT": "400MiB", "GOGC": "50"}
        )
        wait_until(self._answers, self.name, self._log, self._process, 150)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def kill(self) -> None:
        """``kill -9``."""
        kill(self._process)
        self._process = None

    def close(self) -> None:
        """End it and remove its data."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
