"""Every manifest against the schema, and against what a site must never have."""

from __future__ import annotations

from pathlib import Path

import kubernetes_validate
import pytest
import yaml

FOLDER = Path(__file__).resolve().parents[2] / "infra" / "kubernetes"
MANIFESTS = [
    (f"{file.name}:{document['kind']}:{document['metadata']['name']}", document)
    for file in sorted((FOLDER / "manifests").glob("*.yaml"))
    for document in yaml.safe_load_all(file.read_text())
]
OURS = {"synthct"}


@pytest.mark.parametrize(("name", "document"), MANIFESTS, ids=[name for name, _ in MANIFESTS])
def test_kubernetes_refuses_a_manifest(name, document):
    kubernetes_validate.validate(document, "1.32", strict=True)
    if document["kind"] != "Namespace":
        assert document["metadata"]["namespace"] in OURS


def test_a_pod_runs_as_root_writes_its_image_or_has_no_limit():
    pods = [d["spec"]["template"]["spec"] for _, d in MANIFESTS if d["kind"] == "Deployment"]
    assert pods
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert {"cpu", "memory"} <= set(container["resources"]["limits"])
            assert not container["image"].endswith(":latest")


def test_a_pod_that_ingests_has_no_key_of_the_pseudonyms():
    deployments = {d["metadata"]["name"]: d for _, d in MANIFESTS if d["kind"] == "Deployment"}
    pod = deployments["synthct-serve"]["spec"]["template"]["spec"]
    serve = pod["containers"][0]
    told = {one["name"]: one.get("value", "") for one in serve["env"]}
    folder, _, file = told["SYNTHCT_PSEUDONYM_KEY_FILE"].rpartition("/")
    (mount,) = [one for one in serve["volumeMounts"] if one["mountPath"] == folder]
    (volume,) = [one for one in pod["volumes"] if one["name"] == mount["name"]]
    name = volume["secret"]["secretName"]
    assert f"create secret generic {name} --from-file {file}=" in (FOLDER / "README.md").read_text()


def test_what_no_policy_names_may_speak():
    policies = {d["metadata"]["name"]: d for _, d in MANIFESTS if d["kind"] == "NetworkPolicy"}
    deny = policies["deny-all"]["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, policy in policies.items():
        for rule in policy["spec"].get("ingress", []):
            assert rule.get("from"), f"{name} lets everybody in"


def test_a_secret_stands_in_a_manifest_or_in_the_values():
    assert [d for _, d in MANIFESTS if d["kind"] == "Secret"] == []
    for file in FOLDER.glob("values-*.yaml"):
        assert "password:" not in file.read_text()


def test_the_flow_may_touch_more_than_its_own_clusters():
    roles = [d for _, d in MANIFESTS if d["kind"] in ("Role", "ClusterRole")]
    assert [d["kind"] for d in roles] == ["Role"]
    for rule in roles[0]["rules"]:
        assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
        assert "secrets" not in rule["resources"]
