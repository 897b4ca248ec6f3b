"""The manifests say what they must; there is no cluster here.  Needs no engine."""

from __future__ import annotations

import tomllib
from typing import Any, Final

import pytest
import yaml

from tests.compose.stack import REPOSITORY

FOLDER: Final = REPOSITORY / "infra" / "kubernetes"
KUSTOMIZATION: Final[dict[str, Any]] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text("utf-8"))
OBJECTS: Final[list[dict[str, Any]]] = [
    found for name in KUSTOMIZATION["resources"] for found in yaml.safe_load_all((FOLDER / name).read_text("utf-8"))
]
WORKLOADS: Final = [found for found in OBJECTS if found["kind"] in ("Deployment", "StatefulSet", "Job")]
COMPOSE: Final[dict[str, Any]] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text("utf-8"))
each_workload = pytest.mark.parametrize("workload", WORKLOADS, ids=lambda found: found["metadata"]["name"])


def named(kind: str, name: str) -> dict[str, Any]:
    (found,) = (one for one in OBJECTS if (one["kind"], one["metadata"]["name"]) == (kind, name))
    return found


def pod_of(workload: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = workload["spec"]["template"]["spec"]
    return pod


def container_of(workload: dict[str, Any]) -> dict[str, Any]:
    (container,) = pod_of(workload)["containers"]
    return container  # type: ignore[no-any-return]


def test_every_file_is_part_of_the_kustomization_and_names_no_namespace() -> None:
    assert sorted(KUSTOMIZATION["resources"]) == sorted(
        path.name for path in FOLDER.glob("*.yaml") if path.name != "kustomization.yaml"
    )
    assert [one for one in OBJECTS if "namespace" in one["metadata"]] == []
    assert all(one["apiVersion"] and one["metadata"]["labels"]["app.kubernetes.io/name"] for one in OBJECTS)
    places = [(one["kind"], one["metadata"]["name"]) for one in OBJECTS]
    assert len(set(places)) == len(places)


def test_there_are_as_many_of_each_role_as_in_the_compose_stack() -> None:
    services = COMPOSE["services"]
    assert services["standby"]["command"] == services["ticker"]["command"]
    assert named("Deployment", "metronome-ticker")["spec"]["replicas"] == 2
    assert named("Deployment", "metronome-worker")["spec"]["replicas"] == services["worker"]["scale"]


@each_workload
def test_pods_run_as_nobody_and_write_nowhere_else(workload: dict[str, Any]) -> None:
    pod, container = pod_of(workload), container_of(workload)
    who = "999:999" if container["image"].startswith("redis:") else "10001:10001"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" == who
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("name", ["Job metronome-deploy", "Deployment metronome-ticker", "Deployment metronome-worker"])
def test_pods_wait_for_redis_before_they_begin(name: str) -> None:
    workload = named(*name.split())
    container = container_of(workload)
    (waiting,) = pod_of(workload)["initContainers"]
    assert "until metronome health" in waiting["command"][-1]
    for same in ("image", "env", "securityContext"):
        assert waiting[same] == container[same]
    assert "memory" in waiting["resources"]["limits"]


@each_workload
def test_selectors_find_their_pods_and_mounts_their_volumes(workload: dict[str, Any]) -> None:
    labels = workload["spec"]["template"]["metadata"]["labels"]
    if workload["kind"] != "Job":
        assert workload["spec"]["selector"]["matchLabels"] == labels
    volumes = pod_of(workload).get("volumes", []) + [
        {"name": claim["metadata"]["name"]} for claim in workload["spec"].get("volumeClaimTemplates", [])
    ]
    assert {mount["name"] for mount in container_of(workload)["volumeMounts"]} == {one["name"] for one in volumes}
    for volume in volumes:
        if "configMap" in volume:
            named("ConfigMap", volume["configMap"]["name"])
        if "persistentVolumeClaim" in volume:
            named("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"])


@pytest.mark.parametrize("role", ["ticker", "worker"])
def test_roles_are_probed_have_time_to_drain_and_are_not_disrupted_all_at_once(role: str) -> None:
    deployment = named("Deployment", f"metronome-{role}")
    container = container_of(deployment)
    assert container["args"] == [role], "a ticker with a flow would run it again after its end"
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["exec"]["command"] == ["metronome", "health"]
    assert container["livenessProbe"]["exec"]["command"] == ["metronome", "health", "--spare-outage"]
    assert pod_of(deployment)["terminationGracePeriodSeconds"] > 30
    budget = named("PodDisruptionBudget", f"metronome-{role}")
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["spec"]["selector"] == deployment["spec"]["selector"]


def test_deployment_is_tried_again_but_where_the_flow_or_the_command_is_wrong() -> None:
    job = named("Job", "metronome-deploy")["spec"]
    assert job["template"]["spec"]["restartPolicy"] == "Never", "else a policy for failures is refused"
    (rule,) = job["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob"
    assert rule["onExitCodes"] == {
        "containerName": container_of(named("Job", "metronome-deploy"))["name"],
        "operator": "In",
        "values": [1, 2],
    }
    assert rule["onPodConditions"] == [], "the schema of Kubernetes 1.26 to 1.28 requires it"


def test_redis_keeps_its_data_and_only_the_stack_reaches_it() -> None:
    redis, service = named("StatefulSet", "metronome-redis"), named("Service", "metronome-redis")
    labels = redis["spec"]["template"]["metadata"]["labels"]
    assert redis["spec"]["serviceName"] == service["metadata"]["name"]
    assert service["spec"]["selector"] == labels
    assert redis["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"]
    policy = named("NetworkPolicy", "metronome-redis")["spec"]
    assert policy["podSelector"]["matchLabels"] == labels
    (rule,) = policy["ingress"]
    allowed = rule["from"][0]["podSelector"]["matchExpressions"][0]["values"]
    assert set(allowed) == {one["metadata"]["name"] for one in WORKLOADS} - {"metronome-redis"}
    for workload in WORKLOADS:
        for variable in container_of(workload).get("env", []):
            assert variable == {"name": "METRONOME_REDIS_URL", "value": f"redis://{service['metadata']['name']}:6379/0"}


def test_copies_are_what_they_are_copies_of() -> None:
    flow = named("ConfigMap", "metronome-flow")["data"]["every_second.troy"]
    assert flow == (REPOSITORY / "pipelines" / "every_second.troy").read_text("utf-8")
    configuration = named("ConfigMap", "metronome-redis")["data"]["redis.conf"]
    assert configuration == (REPOSITORY / "infra" / "redis.conf").read_text("utf-8")
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert KUSTOMIZATION["images"] == [{"name": "metronome-worker", "newTag": version}]
    dockerfile = (REPOSITORY / "infra" / "Dockerfile").read_text("utf-8")
    assert f'org.opencontainers.image.version="{version}"' in dockerfile
    assert "USER 10001:10001" in dockerfile
    redis = COMPOSE["services"]["redis"]["image"]
    assert container_of(named("StatefulSet", "metronome-redis"))["image"] == redis
