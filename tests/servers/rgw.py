"""Ceph RGW on loopback: a second, different S3 server, from Debian's packages. `make test-full` starts it.

One monitor, one storage daemon in memory and one gateway, as root, with all they write in a folder of their
own. It takes some twenty seconds to start. Missing packages are installed by apt where this is Debian and
root runs it.
"""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import uuid
from typing import TYPE_CHECKING, ClassVar

from servers.processes import free_ports, kill, start, wait_until
from servers.s3 import ADMIN, OTHER, READER, S3Server

if TYPE_CHECKING:
    from pathlib import Path

    from servers.signing import Identity

_PACKAGES = ("radosgw", "ceph-mon", "ceph-osd", "ceph-common")
_PROGRAMS = ("radosgw", "radosgw-admin", "ceph-mon", "ceph-osd", "ceph", "monmaptool")

_CONFIGURATION = """
[global]
fsid = {fsid}
mon_host = v2:127.0.0.1:{mon}/0
public_addr = 127.0.0.1
ms_bind_ipv6 = false
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
ms_mon_client_mode = crc
admin_socket =
run_dir = {folder}
pid_file =
crash_dir = {folder}
log_file = {folder}/$name.log
mon_cluster_log_file = {folder}/cluster.log
debug_none = 0/0
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
mon_data_avail_crit = 1
osd_objectstore = memstore
memstore_device_bytes = 2G
osd_memory_target = 939524096

[mon.a]
mon_data = {folder}/mon

[osd.0]
osd_data = {folder}/osd

[client]
rgw_data = {folder}/rgw
rgw_frontends = beast endpoint=127.0.0.1:{port}
rgw_thread_pool_size = 64
rgw_enable_apis = s3
rgw_run_sync_thread = false
rgw_enable_gc_threads = true
"""


def install() -> None:
    """Install what is missing. Raises ``RuntimeError`` where that cannot be done here."""
    if all(map(shutil.which, _PROGRAMS)):
        return
    if os.geteuid() or not shutil.which("apt-get"):
        raise RuntimeError(f"install {', '.join(_PACKAGES)}: as root on Debian this is done by itself")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", *_PACKAGES]):
        subprocess.run(
            ["apt-get", "-q", *command], env=quiet, check=True, stdout=subprocess.DEVNULL, timeout=900
        )


class RGW(S3Server):
    """Ceph's gateway. :meth:`kill` and :meth:`start` are about the gateway; the storage behind it stays."""

    name: ClassVar[str] = "Ceph RGW"

    def _prepare(self) -> None:
        install()
        self._storage: list[subprocess.Popen[bytes]] = []
        self.port, mon = free_ports(2)
        self._conf = self.folder / "ceph.conf"
        fsid = str(uuid.uuid4())
        self._conf.write_text(_CONFIGURATION.format(folder=self.folder, fsid=fsid, port=self.port, mon=mon))
        for part in ("mon", "osd", "rgw"):
            (self.folder / part).mkdir()
        try:
            self._start_storage(fsid, mon)
            self._make_people()
        except BaseException:
            self.close()
            raise

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            [command[0], "-c", str(self._conf), *command[1:]],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed: {done.stdout[-1000:]}{done.stderr[-2000:]}")
        return done.stdout

    def _daemon(self, *command: str) -> subprocess.Popen[bytes]:
        return start([command[0], "-c", str(self._conf), "-f", *command[1:]], self._log, folder=self.folder)

    def _start_storage(self, fsid: str, mon: int) -> None:
        monmap = str(self.folder / "monmap")
        address = f"[v2:127.0.0.1:{mon}]"
        subprocess.run(
            ["monmaptool", "--create", "--fsid", fsid, "--addv", "a", address, monmap],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap)
        self._storage.append(self._daemon("ceph-mon", "-i", "a"))
        osd = str(uuid.uuid4())
        self._run("ceph", "--connect-timeout", "60", "osd", "new", osd)
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._storage.append(self._daemon("ceph-osd", "-i", "0"))

    def _make_people(self) -> None:
        people: list[tuple[str, Identity]] = [("admin", ADMIN), ("reader", READER), ("other", OTHER)]
        for name, who in people:
            self._run(
                *("radosgw-admin", "user", "create", f"--uid={name}", f"--display-name={name}"),
                *(f"--access-key={who.access_key}", f"--secret-key={who.secret_key}"),
            )

    def make_bucket(self, name: str | None = None) -> str:
        """Make a bucket that ``reader`` may read and list."""
        name = super().make_bucket(name)
        policy = (
            '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", '
            '"Principal": {"AWS": ["arn:aws:iam:::user/reader"]}, '
            f'"Action": ["s3:GetObject", "s3:ListBucket"], '
            f'"Resource": ["arn:aws:s3:::{name}", "arn:aws:s3:::{name}/*"]}}]}}'
        )
        answer = self.request("PUT", f"/{name}", query={"policy": ""}, body=policy.encode())
        if answer.status not in (200, 204):
            raise RuntimeError(f"no policy for {name}: {answer}")
        return name

    def start(self) -> None:
        """Start the gateway, or start it again."""
        self._process = self._daemon("radosgw", "-n", "client.admin")
        wait_until(self._answers, self.name, self._log, self._process, 90)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status < 500
        except OSError:
            return False
        finally:
            connection.close()

    def close(self) -> None:
        """End all of it and remove what it wrote."""
        self.kill()
        for process in reversed(self._storage):
            kill(process)
        shutil.rmtree(self.folder, ignore_errors=True)


def folder_of(server: RGW) -> Path:
    """Where its logs are."""
    return server.folder
