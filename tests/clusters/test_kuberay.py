"""The Kubernetes manifests are what KubeRay and Kubernetes accept."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from kuberay_schema import faults
from stubs import ROOT

FILES = ("raycluster", "rayjob", "storage")
# Maps of the user's own keys: Kubernetes takes any.
FREE = {
    "annotations",
    "labels",
    "limits",
    "matchLabels",
    "nodeSelector",
    "rayStartParams",
    "requests",
    "selector",
}
Place = tuple[str | int, ...]


def load(name: str) -> list[dict[str, Any]]:
    # Anchors are shared objects: a copy of each, so that one place can be changed alone.
    documents = yaml.safe_load_all((ROOT / f"clusters/kuberay/{name}.yaml").read_text())
    return [yaml.safe_load(_plain(document)) for document in documents]


def _plain(document: Any) -> str:
    class NoAliases(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    return yaml.dump(document, Dumper=NoAliases)


MANIFESTS = {
    f"{name}-{document['kind']}-{document['metadata']['name']}": document
    for name in FILES
    for document in load(name)
}


def objects(node: Any, place: Place = ()) -> Iterator[Place]:
    """The places of all objects with keys that the schema knows."""
    if isinstance(node, dict):
        if place and place[-1] in FREE and "matchLabels" not in node:
            return
        yield place
        for key, value in node.items():
            yield from objects(value, (*place, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from objects(value, (*place, index))


def at(node: Any, place: Place) -> Any:
    for step in place:
        node = node[step]
    return node


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifest_is_accepted(name):
    assert faults(MANIFESTS[name]) == []


@pytest.mark.parametrize("name", MANIFESTS)
def test_unknown_key_is_rejected_wherever_it_stands(name):
    manifest = MANIFESTS[name]
    places = list(objects(manifest))
    assert len(places) >= 4
    for place in places:
        changed = copy.deepcopy(manifest)
        at(changed, place)["unheardOf"] = 1
        assert any("unheardOf" in fault for fault in faults(changed)), place


@pytest.mark.parametrize("name", MANIFESTS)
def test_misspelled_key_is_rejected_wherever_it_stands(name):
    manifest = MANIFESTS[name]
    for place in objects(manifest):
        for key in at(manifest, place):
            changed = copy.deepcopy(manifest)
            parent = at(changed, place)
            parent[key + "s"] = parent.pop(key)
            assert faults(changed), (*place, key)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"replicas": "two"}, ("spec", "workerGroupSpecs", 0)),
        ({"groupName": None}, ("spec", "workerGroupSpecs", 0)),
        ({"rayStartParams": {"num-cpus": 2}}, ("spec", "workerGroupSpecs", 0)),
        ({"mode": "password"}, ("spec", "authOptions")),
        ({"apiVersion": "ray.io/v2"}, ()),
    ],
)
def test_wrong_value_is_rejected(change, place):
    manifest = load("raycluster")[0]
    at(manifest, place).update(change)
    assert faults(manifest)


@pytest.mark.parametrize("missing", ["groupName", "template"])
def test_missing_field_is_rejected(missing):
    manifest = load("raycluster")[0]
    del manifest["spec"]["workerGroupSpecs"][1][missing]
    assert any(missing in fault for fault in faults(manifest))


def cluster_of(name: str) -> dict[str, Any]:
    spec = load(name)[0]["spec"]
    return spec.get("rayClusterSpec", spec)


@pytest.mark.parametrize("name", ["raycluster", "rayjob"])
def test_ray_version_is_that_of_the_constraints(name):
    pinned = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned and cluster_of(name)["rayVersion"] == pinned[1]


def test_both_kinds_have_the_same_groups():
    groups = ("headGroupSpec", "workerGroupSpecs")
    cluster, job = cluster_of("raycluster"), cluster_of("rayjob")
    assert {key: cluster[key] for key in groups} == {key: job[key] for key in groups}


@pytest.mark.parametrize("name", FILES)
def test_pods_are_not_root_and_requests_are_quantities(name):
    templates = [
        at(document, place)
        for document in load(name)
        for place in objects(document)
        if place and place[-1] == "template"
    ]
    assert templates
    for template in templates:
        security = template["spec"]["securityContext"]
        assert security["runAsNonRoot"] and security["runAsUser"] > 0
        for container in template["spec"]["containers"]:
            for amounts in container["resources"].values():
                for amount in amounts.values():
                    assert re.fullmatch(r"\d+(\.\d+)?(m|[KMGT]i?)?", str(amount)), amount
            # No image without a version.
            assert re.search(r":[\w.-]*\d", container["image"])


@pytest.mark.parametrize("name", ["raycluster", "rayjob"])
def test_every_ray_pod_sees_the_storage(name):
    claims = {document["metadata"]["name"] for document in load("storage")}
    spec = cluster_of(name)
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        volumes = {v["name"]: v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"]}
        (container,) = pod["containers"]
        mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
        assert mounts == {"/results": "dppo-results"} and claims >= set(volumes.values())
