"""The example for Kubernetes: each object held against Kubernetes's own schema, and against the image and the
settings.
"""

import re
from typing import Any

import kubernetes_validate
import pytest
import yaml

from app.settings import Settings
from tests.harness.containers import REPOSITORY, composition, instructions, last, read

FILES = sorted((REPOSITORY / "deploy/kubernetes").glob("*.yaml"))
OBJECTS: dict[str, dict[str, Any]] = {
    f"{made['kind']} {made['metadata']['name']}": made
    for file in FILES
    for made in yaml.safe_load_all(file.read_text())
}
IMAGE = instructions(read("Dockerfile"))
SETTINGS = {name.upper() for name in Settings.model_fields}
SECRETS = set(composition()["secrets"]) - {"database_password"}
FOLDER = "/run/secrets/idv-gateway"


def pods(value: Any) -> list[dict[str, Any]]:
    """Every pod's description in the value."""
    if isinstance(value, dict):
        own = [value] if "containers" in value else []
        return own + [pod for part in value.values() for pod in pods(part)]
    return []


PODS = {name: pod for name, made in OBJECTS.items() for pod in pods(made)}


def test_everything_that_a_deployment_needs_is_there() -> None:
    assert {name.partition(" ")[0] for name in OBJECTS} == {
        *("ConfigMap", "Job", "Deployment", "Service", "PodDisruptionBudget", "CronJob"),
    }
    assert len(PODS) == 3


@pytest.mark.parametrize("name", OBJECTS)
def test_each_object_is_one_that_kubernetes_takes(name: str) -> None:
    kubernetes_validate.validate(OBJECTS[name], kubernetes_validate.latest_version(), strict=True)


def test_an_object_with_a_wrong_field_would_be_noticed() -> None:
    wrong = {**OBJECTS["Service idv-gateway"], "spec": {"ports": [{"port": "eighty", "prot": 1}]}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("name", PODS)
def test_each_pod_is_confined(name: str) -> None:
    pod = PODS[name]
    [container] = pod["containers"]
    user = int(last(IMAGE, "USER").partition(":")[0])
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert {pod["securityContext"][key] for key in ("runAsUser", "runAsGroup", "fsGroup")} == {user}
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False)
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "memory" in container["resources"]["limits"]
    assert {"cpu", "memory"} == container["resources"]["requests"].keys()
    [memory] = [volume["emptyDir"] for volume in pod["volumes"] if "emptyDir" in volume]
    assert memory.keys() == {"medium", "sizeLimit"}


@pytest.mark.parametrize("name", PODS)
def test_each_pod_is_given_its_secrets_as_files_that_exist(name: str) -> None:
    [container] = PODS[name]["containers"]
    variables = {entry["name"]: entry["value"] for entry in container["env"]}
    assert all(variable.removesuffix("_FILE") in SETTINGS for variable in variables)
    given = {value.removeprefix(f"{FOLDER}/") for value in variables.values()}
    assert (
        given == ({"database_url"} if container["args"] == ["migrate"] else SECRETS)
        if "args" in container
        else given == SECRETS
    )
    assert {"name": "secrets", "mountPath": FOLDER, "readOnly": True} in container["volumeMounts"]
    [secret] = [volume["secret"] for volume in PODS[name]["volumes"] if "secret" in volume]
    assert (secret["secretName"], secret["defaultMode"]) == ("idv-gateway", 0o440)
    assert {item["key"] for item in secret.get("items", [])} in (set(), given)


def test_the_settings_are_settings_and_none_is_a_secret() -> None:
    named = set(OBJECTS["ConfigMap idv-gateway"]["data"])
    assert named <= SETTINGS
    assert not named & {name.upper() for name in SECRETS}


def test_the_migration_sees_no_setting_but_the_database_s() -> None:
    [container] = PODS["Job idv-gateway-migrate"]["containers"]
    assert container["args"] == ["migrate"]
    assert "envFrom" not in container


def test_the_service_is_asked_where_it_answers_and_replaced_without_an_outage() -> None:
    deployment = OBJECTS["Deployment idv-gateway"]
    [container] = PODS["Deployment idv-gateway"]["containers"]
    assert container["ports"] == [{"name": "http", "containerPort": int(last(IMAGE, "EXPOSE"))}]
    probes = {probe: container[f"{probe}Probe"]["httpGet"]["path"] for probe in ("startup", "liveness", "readiness")}
    assert probes == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
    assert deployment["spec"]["replicas"] > 1
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert OBJECTS["Service idv-gateway"]["spec"]["selector"] == labels
    assert OBJECTS["PodDisruptionBudget idv-gateway"]["spec"]["selector"]["matchLabels"] == labels


def test_every_pod_is_of_this_version() -> None:
    [version] = re.findall(r'^version = "([^"]+)"', read("pyproject.toml"), re.MULTILINE)
    images = {container["image"] for pod in PODS.values() for container in pod["containers"]}
    assert {image.rpartition(":")[2] for image in images} == {version}
