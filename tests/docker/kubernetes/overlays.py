"""Build an overlay as kustomize does, with the few features of kustomize that our overlays use.

These are `resources`, `patches` of one file each, which are merged strategically, and `images` with a new
tag. Anything else in a kustomization is an error here. `test_overlays.py` compares the results with those of
kustomize, where that is installed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

Resource = dict[str, Any]

KNOWN = {"apiVersion", "kind", "resources", "patches", "images"}
MERGE_KEYS = {
    "containers": "name",
    "env": "name",
    "ports": "containerPort",
    "volumeMounts": "mountPath",
    "volumes": "name",
    "topologySpreadConstraints": "topologyKey",
}
"""Lists of a pod whose entries are merged by this key. Other lists are replaced."""


def load(path: Path) -> list[Resource]:
    """The objects in a file."""
    return [loaded for loaded in yaml.safe_load_all(path.read_text()) if loaded]


def build(folder: Path) -> list[Resource]:
    """Return the objects that an overlay or a base describes."""
    (kustomization,) = load(folder / "kustomization.yaml")
    assert kustomization.keys() <= KNOWN, f"{folder}: {kustomization.keys() - KNOWN} is not built here"
    built: list[Resource] = []
    for name in kustomization["resources"]:
        path = folder / name
        built += build(path) if path.is_dir() else load(path)
    for entry in kustomization.get("patches", ()):
        assert entry.keys() == {"path"}
        (patch,) = load(folder / entry["path"])
        (index,) = [i for i, resource in enumerate(built) if identity(resource) == identity(patch)]
        built[index] = merged(built[index], patch)
    for image in kustomization.get("images", ()):
        assert image.keys() == {"name", "newTag"}
        for container in (c for resource in built for c in containers(resource)):
            if container["image"].partition(":")[0] == image["name"]:
                container["image"] = f"{image['name']}:{image['newTag']}"
    return built


def identity(resource: Resource) -> tuple[str, str, str]:
    return resource["apiVersion"], resource["kind"], resource["metadata"]["name"]


def containers(resource: Resource) -> list[dict[str, Any]]:
    """Return the containers of a workload, and no containers for any other object."""
    spec = resource.get("spec", {})
    found: list[dict[str, Any]] = spec.get("template", {}).get("spec", {}).get("containers", [])
    return found


def merged(base: Any, patch: Any, key: str = "") -> Any:
    """Merge a patch into a value: maps by name, lists of `MERGE_KEYS` by their key; null removes."""
    if isinstance(base, dict) and isinstance(patch, dict):
        result = dict(base)
        for name, value in patch.items():
            if value is None:
                result.pop(name, None)
            else:
                result[name] = merged(base[name], value, name) if name in base else value
        return result
    if isinstance(base, list) and isinstance(patch, list) and key in MERGE_KEYS:
        by = MERGE_KEYS[key]
        changes = {entry[by]: entry for entry in patch}
        kept = [merged(entry, changes.pop(entry[by])) if entry[by] in changes else entry for entry in base]
        return [*changes.values(), *kept]
    return patch
