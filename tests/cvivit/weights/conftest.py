"""Fixtures for weights: a tiny model, the layouts that files come in, and a stand-in for the Hub."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from torch import Tensor

from cvivit.config import CViViTConfig
from cvivit.network import CViViT
from cvivit.weights import save_pretrained

SMALL: dict[str, Any] = {
    "dim": 32,
    "heads": 2,
    "dim_head": 16,
    "spatial_depth": 1,
    "temporal_depth": 1,
    "codebook_size": 64,
    "codebook_dim": 8,
    "image_size": 32,
    "clip_frames": 5,
}


@pytest.fixture(scope="session")
def make_model(recipe: ModuleType) -> Callable[[CViViTConfig], CViViT]:
    """Returns a function from a configuration to a model with deterministic weights."""

    def make(config: CViViTConfig) -> CViViT:
        model = CViViT(config).eval()
        model.load_state_dict(recipe.fill(model.state_dict(), seed=1))
        return model

    return make


@pytest.fixture
def model(tiny: CViViTConfig, make_model: Callable[[CViViTConfig], CViViT]) -> CViViT:
    return make_model(tiny)


@pytest.fixture
def export(model: CViViT, tmp_path: Path) -> Path:
    save_pretrained(model, tmp_path / "export")
    return tmp_path / "export"


@pytest.fixture
def state(model: CViViT) -> dict[str, Tensor]:
    return dict(model.state_dict())


@pytest.fixture
def small_release(monkeypatch: pytest.MonkeyPatch) -> CViViTConfig:
    """Let files without a configuration count as a small form of the released variant, which is returned."""
    config = CViViTConfig.released(**SMALL)
    whole = CViViTConfig.released

    def released(**overrides: Any) -> CViViTConfig:
        return whole(**(SMALL | overrides))

    monkeypatch.setattr(CViViTConfig, "released", released)
    return config


@dataclass
class Repository:
    """One repository of the stand-in for the Hub."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    gated: bool = False

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        """Add files on top of a branch and return the new commit."""
        tree = self.commits.get(self.refs.get(branch, ""), {}) | files
        sha = hashlib.sha1(repr(sorted(tree.items())).encode(), usedforsecurity=False).hexdigest()
        self.commits[sha] = tree
        self.refs[branch] = sha
        return sha


@dataclass
class StandInHub:
    """A server that speaks the Hub's protocol, for models: listing, resolving, downloading, uploading."""

    url: str = ""
    token: str = "hf_right"
    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    """What was uploaded through LFS, by sha256."""
    requests: list[str] = field(default_factory=list)
    down: bool = False

    def add(self, name: str, files: dict[str, bytes]) -> str:
        """Make a repository with one commit and return the commit."""
        return self.repositories.setdefault(name, Repository()).commit(files)


class Handler(BaseHTTPRequestHandler):
    """One request to the stand-in."""

    protocol_version = "HTTP/1.1"
    hub: StandInHub

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        self.hub.requests.append(f"{self.command} {self.path}")

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def answer_json(self, document: Any) -> None:
        self.answer(200, json.dumps(document).encode(), Content_Type="application/json")

    def refuse(self, status: int, code: str) -> None:
        self.answer(status, b"{}", X_Error_Code=code, X_Error_Message=code)

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def find(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Return the commit and its files, or answer with an error."""
        repository = self.hub.repositories.get(name)
        if repository is None:
            self.refuse(401, "RepoNotFound")
        elif repository.gated:
            self.refuse(403, "GatedRepo")
        elif (sha := repository.refs.get(revision, revision)) not in repository.commits:
            self.refuse(404, "RevisionNotFound")
        else:
            return sha, repository.commits[sha]
        return None

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if self.hub.down:
            self.answer(503)
        elif path.startswith("/cdn/"):
            self.answer(200, self.hub.objects[path.removeprefix("/cdn/")])
        elif path.startswith("/api/models/"):
            self.describe(path.removeprefix("/api/models/"))
        else:
            name, _, rest = path.removeprefix("/").partition("/resolve/")
            revision, _, file = rest.partition("/")
            self.resolve(name, revision, file)

    def do_HEAD(self) -> None:
        self.do_GET()

    def describe(self, path: str) -> None:
        name, _, revision = path.partition("/revision/")
        if found := self.find(name, revision or "main"):
            files = [{"rfilename": file} for file in found[1]]
            self.answer_json({"id": name, "modelId": name, "sha": found[0], "siblings": files, "tags": []})

    def resolve(self, name: str, revision: str, file: str) -> None:
        if not (found := self.find(name, revision)):
            return
        commit, files = found
        if file not in files:
            self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        elif file.endswith((".bin", ".safetensors")):  # in LFS: at another address, under its sha256
            oid = hashlib.sha256(files[file]).hexdigest()
            self.hub.objects[oid] = files[file]
            where = f"{self.hub.url.replace('127.0.0.1', 'localhost')}/cdn/{oid}"  # another host, like a CDN
            size = str(len(files[file]))
            self.answer(
                302,
                Location=where,
                ETag='"git"',
                X_Repo_Commit=commit,
                X_Linked_Etag=f'"{oid}"',
                X_Linked_Size=size,
            )
        else:
            oid = hashlib.sha1(files[file], usedforsecurity=False).hexdigest()
            self.answer(200, files[file], ETag=f'"{oid}"', X_Repo_Commit=commit)

    def do_POST(self) -> None:
        body = self.body()
        path = unquote(urlsplit(self.path).path)
        if self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            self.refuse(401, "")
        elif path == "/api/repos/create":
            self.create(json.loads(body))
        elif path == "/api/validate-yaml":
            self.answer_json({"errors": [], "warnings": []})
        elif "/preupload/" in path:
            files = [file["path"] for file in json.loads(body)["files"]]
            modes = {True: "lfs", False: "regular"}
            self.answer_json(
                {
                    "files": [
                        {"path": f, "uploadMode": modes[f.endswith(".safetensors")], "shouldIgnore": False}
                        for f in files
                    ]
                }
            )
        elif path.endswith(".git/info/lfs/objects/batch"):
            self.offer(json.loads(body))
        elif path.startswith("/verify/"):
            self.answer(200 if json.loads(body)["oid"] in self.hub.objects else 404, b"{}")
        else:
            name, _, branch = path.removeprefix("/api/models/").partition("/commit/")
            self.take(name, branch, body)

    def do_PUT(self) -> None:
        body = self.body()
        oid = hashlib.sha256(body).hexdigest()
        if self.path == f"/cdn/{oid}":
            self.hub.objects[oid] = body
        self.answer(200 if oid in self.hub.objects else 400)

    def create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        if name in self.hub.repositories:
            self.answer(
                409, json.dumps({"url": f"{self.hub.url}/{name}"}).encode(), Content_Type="application/json"
            )
        else:
            self.hub.add(name, {".gitattributes": b""})
            self.answer_json({"url": f"{self.hub.url}/{name}", "name": name})

    def offer(self, batch: dict[str, Any]) -> None:
        def actions(oid: str) -> dict[str, Any]:
            return {
                "upload": {"href": f"{self.hub.url}/cdn/{oid}"},
                "verify": {"href": f"{self.hub.url}/verify/{oid}"},
            }

        offers = [
            {"oid": file["oid"], "size": file["size"], "actions": actions(file["oid"])}
            for file in batch["objects"]
        ]
        self.answer_json({"transfer": "basic", "objects": offers})

    def take(self, name: str, branch: str, body: bytes) -> None:
        files: dict[str, bytes] = {}
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
        sha = self.hub.repositories[name].commit(files, branch)
        self.answer_json(
            {"success": True, "commitOid": sha, "commitUrl": f"{self.hub.url}/{name}/commit/{sha}"}
        )


@pytest.fixture
def hub_server() -> Iterator[StandInHub]:
    """A stand-in for the Hub that is listening."""
    hub = StandInHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield hub
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def hub(hub_server: StandInHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandInHub:
    """The stand-in, with this process as its client: an empty cache, no token, no xet."""
    from huggingface_hub import HfApi, constants

    from cvivit.weights import hub as client

    monkeypatch.setattr(client, "client", lambda: HfApi(endpoint=hub_server.url))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return hub_server
