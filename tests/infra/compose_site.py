"""The services of the compose file as plain processes: ``python compose_site.py CONFIG FOLDER``.

CONFIG is what `docker compose config --format json` printed. Run it as root in namespaces of its
own (`unshare --net --mount --pid --fork --kill-child --mount-proc`), so that ports and names are
free and everything ends with it. Each service gets what the file gives it: its user, a read-only
root, its secrets, volumes and environment, no capability, and the start order with the health
checks. Programs are this machine's instead of the images'. All share one network.

Prints a JSON of what a person, a scraper and a scheduled run find.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import re
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UI = Path(find_spec("prefect").origin).parent / "server" / "ui_build"
"""Made by the first Prefect server of an installation: an image, which is read-only, has none."""

POSTGRES = "/usr/lib/postgresql"
_PATIENCE_S = 1200.0
"""For a service to become healthy, on a crowded machine."""

NO_IMAGE = ("grafana",)
"""Services whose program no package registry has."""

USERS = {"nginx": "101:101", "s3": "1000:1000"}
"""Users that the images themselves set."""

ENTER = r"""
set -eu
new=$1; shift
mount -t tmpfs -o mode=755 none "$new"
for d in usr opt etc tmp run dev proc var; do mkdir "$new/$d"; done
for d in bin sbin lib lib64; do [ ! -e "/$d" ] || ln -s "usr/$d" "$new/$d"; done
chmod 1777 "$new/tmp"; ln -s ../run "$new/var/run"; mkdir "$new/var/tmp"
for d in usr opt; do mount --rbind "/$d" "$new/$d"; done
cp -a /etc/. "$new/etc"; cp "$HOSTS" "$new/etc/hosts"
getent passwd "${OWNER%:*}" > /dev/null || echo "image:x:$OWNER::/tmp:/bin/sh" >> "$new/etc/passwd"
mount --rbind /dev "$new/dev"; mount --rbind /proc "$new/proc"
for d in $CODE; do
    mkdir -p "$new$d"; mount --rbind "$d" "$new$d"; mount -o remount,bind,ro "$new$d"
done
if [ -d "$MADE_BY_PREFECT" ]; then
    mount -t tmpfs -o ro,mode=755 none "$new$MADE_BY_PREFECT"
fi
for each in $TMPFS; do
    mkdir -p "$new$each"; [ "$each" = /tmp ] || mount -t tmpfs -o mode=1777 none "$new$each"
done
while [ "$1" != -- ]; do
    source=$1 target=$2 mode=$3; shift 3
    mkdir -p "$new$(dirname "$target")"
    if [ -d "$source" ]; then mkdir -p "$new$target"; else : > "$new$target"; fi
    mount --bind "$source" "$new$target"
    [ "$mode" = rw ] || mount -o remount,bind,ro "$new$target"
done
shift
mount --rbind "$new/tmp" "$new/tmp"
mount -o remount,bind,ro "$new"
exec chroot "$new" /usr/bin/env -C "$WORKDIR" setpriv --reuid="${OWNER%:*}" --regid="${OWNER#*:}" \
    --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs "$@"
"""


_OF_THE_IMAGE = re.compile(r"^    (?!PATH)([A-Z_]+)=(\S+)(?: \\)?$", re.MULTILINE)
"""The lines of the Dockerfile's ENV."""


class Service:
    """One service of the rendered file."""

    def __init__(self, name: str, rendered: dict, folder: Path, secrets: dict) -> None:
        self.name, self.rendered, self.folder = name, rendered, folder
        self.secrets = secrets
        self.log = folder / f"{name}.log"
        self.process: subprocess.Popen | None = None

    def start(self, hosts: Path) -> None:
        """Start it in a root of its own."""
        place = self.folder / "roots" / self.name
        place.mkdir(parents=True)
        work = self.rendered.get("working_dir", "/")
        entering = {
            "HOSTS": str(hosts), "CODE": f"{ROOT} {sys.base_prefix}", "OWNER": self.user,
            "TMPFS": " ".join(self.rendered.get("tmpfs", [])), "WORKDIR": work,
            "PATH": os.environ["PATH"], "MADE_BY_PREFECT": str(UI),
        }  # fmt: skip
        command = [
            "unshare", "--mount", "--propagation=private", "sh", "-c", ENTER, "enter", str(place),
            *self._mounts(), "--", "/usr/bin/env", "-i", *self._environment(), *self._command(),
        ]  # fmt: skip
        with self.log.open("wb") as log:
            os.fchown(log.fileno(), *map(int, self.user.split(":")))  # as a container's stderr
            self.process = subprocess.Popen(command, env=entering, stdout=log, stderr=log)

    @property
    def user(self) -> str:
        """``uid:gid`` as the file or the image says."""
        return str(self.rendered.get("user") or USERS[self.name])

    def _mounts(self) -> list[str]:
        found = []
        for each in self.rendered.get("secrets", []):
            source = Path(self.secrets[each["source"]]["file"])
            target = each.get("target", each["source"])
            place = target if target.startswith("/") else f"/run/secrets/{target}"
            found += [str(source), place, "ro"]
        for each in self.rendered.get("volumes", []):
            source = Path(each["source"])
            if each["type"] == "volume":  # a new one belongs to the user of the image
                source = self.folder / "volumes" / each["source"]
                source.mkdir(parents=True, exist_ok=True)
                os.chown(source, *map(int, self.user.split(":")))
            found += [str(source), each["target"], "ro" if each.get("read_only") else "rw"]
        return found

    def _environment(self) -> list[str]:
        given = {k: v for k, v in (self.rendered.get("environment") or {}).items() if v is not None}
        ours = {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin",
            "HOME": "/tmp", "LANG": "C.UTF-8",
        }  # fmt: skip
        if self.rendered["image"].startswith("synthct"):
            ours |= dict(_OF_THE_IMAGE.findall((ROOT / "infra/images/Dockerfile").read_text()))
        return [f"{name}={value}" for name, value in {**ours, **given}.items()]

    def _command(self) -> list[str]:
        """What the image's entry point makes of the command."""
        told = [str(word) for word in self.rendered.get("command") or []]
        if self.rendered["image"].startswith("synthct"):
            return [str(ROOT / "infra/images/with-secrets"), *told]
        if self.name == "postgres":
            return ["sh", "-c", _POSTGRES, "postgres", str(max(Path(POSTGRES).iterdir()) / "bin")]
        if self.name == "s3":
            weed = next(Path(sys.executable).parent.glob("weed"))
            return [str(weed), "-logtostderr=true", *told]
        if self.name == "nginx":
            return ["nginx", "-g", "daemon off;"]
        return [self.name, *told]

    def healthy(self) -> bool:
        """Whether its health check passes; without one: whether it runs."""
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended: {self.log.read_text()[-3000:]}")
        check = self.rendered.get("healthcheck")
        if check is None:
            return True
        words = check["test"][1:]
        command = ["sh", "-c", *words] if check["test"][0] == "CMD-SHELL" else words
        inside = ["nsenter", "--target", str(self.process.pid), "--mount", "--root", "--wd=/"]
        environment = dict(each.split("=", 1) for each in self._environment())
        done = subprocess.run([*inside, *command], env=environment, capture_output=True)
        return done.returncode == 0


_POSTGRES = """
set -eu
export PATH="$1:$PATH" PGDATA=/var/lib/postgresql/data
initdb --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" --auth-local=trust \
    --auth-host=scram-sha-256 > /tmp/initdb.log
echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
pg_ctl --wait --options="-c listen_addresses= -k /run/postgresql" start > /tmp/start.log
createdb --host=/run/postgresql --username="$POSTGRES_USER" "$POSTGRES_DB"
pg_ctl --wait stop > /tmp/stop.log
exec postgres -c listen_addresses='*' -k /run/postgresql
"""
"""In short what the entry point of the image does at the first start."""


def until(what: str, asked: Callable[[], object]) -> object:
    """The first true answer."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        found = asked()
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {_PATIENCE_S:.0f} s")
        time.sleep(1.0)


def start_all(config: dict, folder: Path) -> dict[str, Service]:
    """Start the services in the order of the file."""
    names = [name for name in config["services"] if name not in NO_IMAGE]
    hosts = folder / "hosts"
    shared = {name for name in names if config["services"][name].get("network_mode")}
    own = {
        name: "127.0.0.1" if name in shared else f"127.0.1.{number}"
        for number, name in enumerate(names, 1)
    }
    hosts.write_text("".join(f"{a} {n}\n" for n, a in {"localhost": "127.0.0.1", **own}.items()))
    subprocess.run(["mount", "--bind", str(hosts), "/etc/hosts"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    started: dict[str, Service] = {}
    while len(started) < len(names):
        for name in names:
            needs = config["services"][name].get("depends_on", {})
            if name in started or not set(needs) <= set(started):
                continue
            for other, rule in needs.items():
                if rule["condition"] == "service_healthy":
                    until(f"{other} healthy", started[other].healthy)
            service = Service(name, config["services"][name], folder, config["secrets"])
            service.start(hosts)
            started[name] = service
            print(f"{time.monotonic():.0f} {name} started", file=sys.stderr, flush=True)
    return started


@contextlib.contextmanager
def in_place_of_grafana():
    """A server that answers with the headers that it was sent."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps({k.lower(): v for k, v in self.headers.items()}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_): ...

    server = HTTPServer(("127.0.0.1", 3000), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def web_socket(authority: Path, path: str, web: tuple[str, str]) -> int:
    """Status of the answer to a request for a web socket; 101: it is open."""
    context = ssl.create_default_context(cafile=str(authority))
    connection = http.client.HTTPSConnection("localhost", 8443, context=context, timeout=60)
    headers = {
        "Authorization": "Basic " + base64.b64encode(":".join(web).encode()).decode(),
        "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
        "Sec-WebSocket-Protocol": "prefect",
    }  # fmt: skip
    connection.request("GET", path, headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status


def look(config: dict, services: dict[str, Service], web: tuple[str, str]) -> dict:
    """What is seen through nginx, by Prometheus, and of a scheduled run."""
    import httpx

    secrets = {n: Path(s["file"]) for n, s in config["secrets"].items()}
    door = "https://localhost:8443"
    found: dict = {}
    with httpx.Client(verify=str(secrets["web.pem"]), timeout=120) as client:

        def ask(path: str, method: str = "GET", **more) -> httpx.Response:
            """An answer; a service that is too busy for one is asked again."""
            deadline = time.monotonic() + _PATIENCE_S
            while True:
                answer = client.request(method, f"{door}{path}", **more)
                if answer.status_code < 500 or time.monotonic() > deadline:
                    return answer
                time.sleep(1.0)

        def up(path: str) -> bool:
            for service in services.values():
                service.healthy()
            with contextlib.suppress(httpx.TransportError):
                return client.get(f"{door}{path}", auth=web).status_code == 200
            return False

        until("the status page", lambda: up("/status"))
        found["without password"] = {
            path: ask(path).status_code for path in ("/status", "/", "/api/health", "/grafana/")
        }
        found["with password"] = {
            path: ask(path, auth=web).status_code
            for path in ("/status", "/status.json", "/", "/api/admin/version")
        }
        filtered = "/api/deployments/filter"
        found["a form of a web page"] = ask(filtered, "POST", auth=web, json={}).status_code
        with in_place_of_grafana():
            found["told to Grafana"] = ask("/grafana/", auth=web).json()
        found["web socket"] = web_socket(secrets["web.pem"], "/api/events/out", web)
        straight = httpx.get("http://prefect:4200/api/admin/version", timeout=60)
        found["straight to Prefect"] = straight.status_code
        token = ask("/api/csrf-token?client=test", auth=web).json()["token"]
        headers = {"Prefect-Csrf-Token": token, "Prefect-Csrf-Client": "test"}

        def call(path: str, **body):
            answer = ask(f"/api{path}", "POST", auth=web, headers=headers, json=body)
            answer.raise_for_status()
            return answer.json()

        def registered():
            known = call("/deployments/filter")
            return known if len(known) == 3 else None

        deployments = until("the three deployments", registered)
        (nightly,) = [each for each in deployments if each["name"] == "nightly"]
        run = call(
            f"/deployments/{nightly['id']}/create_flow_run",
            parameters={"until": "cohort"}, state={"type": "SCHEDULED"},
        )["id"]  # fmt: skip

        def ended():
            for service in services.values():
                service.healthy()
            state = ask(f"/api/flow_runs/{run}", auth=web).json()["state_type"]
            return state if state in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None

        found["run"] = until("the end of the run", ended)
        time.sleep(3.0)  # the last log lines
        lines = call("/logs/filter", logs={"flow_run_id": {"any_": [run]}}, limit=200)
        found["log"] = [line["message"] for line in lines]
    found["units on S3"] = _units(secrets["s3_credentials"])
    monitored = "http://127.0.0.1:9090/api/v1"

    def scraped():
        targets = httpx.get(f"{monitored}/targets").json()["data"]["activeTargets"]
        health = {each["labels"]["job"]: each["health"] for each in targets}
        groups = httpx.get(f"{monitored}/rules").json()["data"]["groups"]
        rules = {rule["health"] for group in groups for rule in group["rules"]}
        return (health, sorted(rules)) if "unknown" not in {*health.values(), *rules} else None

    found["targets"], found["rules"] = until("a scrape", scraped)
    return found


def _units(credentials: Path) -> int:
    """Finished units in the bucket."""
    import s3fs

    lines = dict(
        line.split(" = ") for line in credentials.read_text().splitlines() if " = " in line
    )
    store = s3fs.S3FileSystem(
        key=lines["aws_access_key_id"], secret=lines["aws_secret_access_key"],
        endpoint_url="http://s3:8333",
    )  # fmt: skip
    return len(store.glob("synthct/units/*/*"))


def main(config: Path, folder: Path, password: str) -> None:
    """Start, look, print; ending this process ends its namespaces."""
    rendered = json.loads(config.read_text())
    services = start_all(rendered, folder)
    print(json.dumps(look(rendered, services, ("synthct", password))))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
