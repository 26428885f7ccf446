"""charts/task-service, rendered by Helm over a matrix of values: what a cluster would get. None is there to try it on."""

import itertools
import json
import re
import warnings
from typing import Any

import pytest
import yaml

from app.core.config import Settings
from app.core.setting_fields import secret_names
from app.core.version import VERSION
from tests.support.chart import (
    CHART,
    NEEDED,
    README,
    helm,
    named,
    notes,
    options,
    pod_specs,
    readme,
    refusal,
    render,
    run_helm,
)
from tests.support.containers import compose, image_command
from tests.support.tools import imported

pytestmark = pytest.mark.skipif(helm() is None, reason="there is no Helm: helm-binary has none for this platform")

CUSTOM = {"keda.sh", "monitoring.coreos.com"}
KUBERNETES = ("1.31", "1.37")
SCALED = {"pools.all.autoscaling.maxReplicas": 10, "keda.existingSecret": "keda"}
CHOICES: tuple[dict[str, Any], ...] = (
    {"storage.existingClaim": "files", "settings.RETENTION_DAYS": 30, "settings.MCP_ENABLED": True},
    {**SCALED, "api.autoscaling.maxReplicas": 5, "serviceMonitor": {"enabled": True, "existingSecret": "prometheus"}},
    {"ingress": {"enabled": True, "host": "tasks.example.com", "tlsSecret": "tls", "annotations": {"a": "b"}}},
    {"migrate.existingSecret": "owner", "migrate.grantRole": "tasks_app", "image.digest": f"sha256:{'0' * 64}"},
    {
        "pools.express": None,
        "pools.low": {"queues": ["low_priority"], "image": "other:1", "tolerations": [{"operator": "Exists"}]},
        "networkPolicy.from": [{"namespaceSelector": {}}],
        "networkPolicy.egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}],
        "podDisruptionBudget.maxUnavailable": "25%",
        "serviceAccountName": "bucket",
        "image.pullSecrets": ["registry"],
        "commonLabels": {"team": "a"},
        "podAnnotations": {"b": "c"},
        "api.service.annotations": {"d": "e"},
    },
)
# None, each alone, each two together, and all.
MATRIX = [
    {name: value for each in chosen for name, value in each.items()}
    for number in (0, 1, 2, len(CHOICES))
    for chosen in itertools.combinations(CHOICES, number)
]


@pytest.fixture(scope="module", params=MATRIX, ids=[f"{at}" for at in range(len(MATRIX))])
def objects(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return render(request.param)


class TestWhatIsRendered:
    def test_is_of_the_schemas_of_kubernetes(self, objects: list[dict[str, Any]]) -> None:
        of_kubernetes = [each for each in objects if each["apiVersion"].split("/")[0] not in CUSTOM]
        assert len(of_kubernetes) > 8
        validator = imported("kubernetes_validate")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            for each, version in itertools.product(of_kubernetes, KUBERNETES):
                validator.validate(each, version, strict=True)

    def test_has_each_name_once(self, objects: list[dict[str, Any]]) -> None:
        names = [(each["kind"], each["metadata"]["name"]) for each in objects]
        assert len(names) == len({*names})
        assert all(len(name) <= 63 for _, name in names)

    def test_selects_its_own_pods_alone(self, objects: list[dict[str, Any]]) -> None:
        deployments = [each for each in objects if each["kind"] == "Deployment"]
        selectors = [json.dumps(each["spec"]["selector"]["matchLabels"], sort_keys=True) for each in deployments]
        assert len(selectors) == len({*selectors})
        for each in deployments:
            labels = each["spec"]["template"]["metadata"]["labels"]
            assert each["spec"]["selector"]["matchLabels"].items() <= labels.items()

    def test_makes_no_object_that_holds_settings_or_secrets(self, objects: list[dict[str, Any]]) -> None:
        assert {each["kind"] for each in objects}.isdisjoint({"Secret", "ConfigMap"})
        for name, pod in pod_specs(objects).items():
            for container in pod["containers"]:
                given = {each["name"] for each in container["env"]}
                assert given.isdisjoint(secret_names(Settings)), name


class TestEveryPod:
    def test_runs_without_rights(self, objects: list[dict[str, Any]]) -> None:
        for pod in pod_specs(objects).values():
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert pod["securityContext"]["runAsUser"] == 10001  # of the Dockerfile
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            assert pod["automountServiceAccountToken"] is False
            assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
            for container in pod["containers"]:
                assert container["securityContext"] == {
                    "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
                }  # fmt: skip

    def test_asks_for_cpu_and_is_bounded_in_memory(self, objects: list[dict[str, Any]]) -> None:
        for pod in pod_specs(objects).values():
            for container in pod["containers"]:
                assert container["resources"]["requests"].keys() == {"cpu", "memory"}
                assert "memory" in container["resources"]["limits"]

    def test_writes_to_volumes_that_it_has(self, objects: list[dict[str, Any]]) -> None:
        for pod in pod_specs(objects).values():
            volumes = {each["name"] for each in pod["volumes"]}
            for container in pod["containers"]:
                mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
                assert mounts.keys() == volumes
                assert mounts.items() >= {"tmp": "/tmp", "data": "/data"}.items()
                (url,) = [each["value"] for each in container["env"] if each["name"] == "STORAGE_URL"]
                assert ("files" in volumes) == (url == "file:///files")

    def test_has_probes_unless_it_ends(self, objects: list[dict[str, Any]]) -> None:
        for name, pod in pod_specs(objects).items():
            (container,) = pod["containers"]
            assert ("livenessProbe" in container) is not name.endswith("-migrate")
            assert ("readinessProbe" in container) is name.endswith("-api")

    def test_is_started_by_role(self, objects: list[dict[str, Any]]) -> None:
        for name, pod in pod_specs(objects).items():
            (container,) = pod["containers"]
            role = re.sub(r"^release-task-service-(api|worker|beat|migrate).*", r"\1", name)
            assert ("command" in container) is (role == "migrate")
            assert role == "migrate" or container["args"][0] == {"api": "serve"}.get(role, role)


def test_the_roles_are_those_of_the_image_and_of_compose() -> None:
    objects, services = render(), compose()["services"]
    assert pod_specs(objects)["release-task-service-api"]["containers"][0]["args"][:5] == image_command()[3:8]
    (worker,) = pod_specs(objects)["release-task-service-worker-all"]["containers"]
    assert " ".join(worker["args"]).startswith(services["worker"]["command"].split("${")[0])
    (beat,) = pod_specs(objects)["release-task-service-beat"]["containers"]
    assert " ".join(beat["args"]) == services["beat"]["command"]
    assert beat["livenessProbe"]["exec"]["command"][-1] == services["beat"]["healthcheck"]["test"][-1]


class TestMigrations:
    def test_run_before_the_rest_with_the_secret_of_the_owner_last(self) -> None:
        objects = render({"migrate.existingSecret": "owner", "migrate.grantRole": "tasks_app"})
        job = named(objects, "Job")
        assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
        (container,) = job["spec"]["template"]["spec"]["containers"]
        # Of two secrets the last wins: Kubernetes, EnvFromSource.
        assert [each["secretRef"]["name"] for each in container["envFrom"]] == ["task-service", "owner"]
        assert container["command"][-1].splitlines()[:3] == [
            "set -e", "python -m app migrate", "python -m app grant 'tasks_app'",
        ]  # fmt: skip
        # Nothing that the job needs is made by the release, whose objects come after it.
        assert not {each["kind"] for each in objects} & {
            "ServiceAccount",
            "Secret",
            "ConfigMap",
            "PersistentVolumeClaim",
        }

    def test_can_be_left_out(self) -> None:
        assert [each for each in render({"migrate.enabled": False}) if each["kind"] == "Job"] == []


class TestPools:
    def test_have_the_defaults_and_what_is_given(self) -> None:
        objects = render(
            {"pools.all.settings": {"LOG_LEVEL": "debug"}, "pools.all.concurrency": 8, "settings.A_B": "x"}
        )
        (container,) = pod_specs(objects)["release-task-service-worker-all"]["containers"]
        assert container["args"][-4:] == ["-c", "8", "-Q", "high_priority,default,low_priority"]
        given = {each["name"]: each["value"] for each in container["env"]}
        assert given == {
            "A_B": "x", "APP_ENV": "production", "LOG_LEVEL": "debug", "STORAGE_URL": NEEDED["storage.url"],
        }  # fmt: skip
        (other,) = pod_specs(objects)["release-task-service-worker-express"]["containers"]
        assert other["args"][-4:] == ["-c", "1", "-Q", "high_priority"]
        assert "LOG_LEVEL" not in {each["name"] for each in other["env"]}

    def test_may_be_removed(self) -> None:
        names = pod_specs(render({"pools.express": None})).keys()
        assert {name for name in names if "worker" in name} == {"release-task-service-worker-all"}

    def test_are_scaled_where_they_say_so(self) -> None:
        objects = render(SCALED)
        scaled = named(objects, "ScaledObject")
        assert scaled["spec"]["scaleTargetRef"]["name"] == "release-task-service-worker-all"
        assert "replicas" not in named(objects, "Deployment", "worker-all")["spec"]  # an upgrade would set it back
        assert named(objects, "Deployment", "worker-express")["spec"]["replicas"] == 1
        key = named(objects, "TriggerAuthentication")["spec"]["secretTargetRef"]
        assert key == [{"parameter": "token", "name": "keda", "key": "API_KEY"}]


class TestNetworkPolicies:
    def test_let_nobody_in_but_to_the_api(self) -> None:
        objects = render()
        every = named(objects, "NetworkPolicy", "task-service")["spec"]
        assert (every["policyTypes"], every.get("ingress")) == (["Ingress"], None)
        assert every["podSelector"]["matchLabels"].keys() == {"app.kubernetes.io/name", "app.kubernetes.io/instance"}
        api = named(objects, "NetworkPolicy", "-api")["spec"]
        assert api["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "api"
        assert api["ingress"] == [{"ports": [{"port": "http"}]}]


class TestValues:
    @pytest.mark.parametrize(
        ("values", "why"),
        [
            ({"existingSecret": "s"}, "storage: set storage.url"),
            ({"storage.url": "s3://b/p"}, "existingSecret: name a secret with SECRET_KEY, DATABASE_URL"),
            ({**NEEDED, "pools.all.autoscaling.maxReplicas": 2}, "keda.existingSecret: name a secret"),
            ({**NEEDED, "ingress.enabled": True}, "ingress.host: name the host"),
            ({**NEEDED, "replicas": 3}, "replicas"),
            ({**NEEDED, "pools.all.queue": "default"}, "queue"),
            ({**NEEDED, "pools.all.queues": ["urgent"]}, "queues.0"),
            ({**NEEDED, "pools.all.concurrency": 0}, "concurrency"),
            ({**NEEDED, "settings.SECRET_KEY": "x"}, "SECRET_KEY"),
            ({**NEEDED, "settings.app_env": "production"}, "app_env"),
            ({**NEEDED, "api.resources.limits": {"cpu": 1, "memory": None}}, "memory"),
            ({**NEEDED, "migrate.grantRole": "a'; DROP"}, "grantRole"),
            ({**NEEDED, "image.digest": "latest"}, "digest"),
        ],
    )
    def test_that_are_wrong_are_refused_with_their_names(self, values: dict[str, Any], why: str) -> None:
        assert why in refusal(values)

    def test_refuse_each_secret_among_the_settings(self) -> None:
        schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
        assert {*schema["properties"]["settings"]["propertyNames"]["not"]["enum"]} == {*secret_names(Settings)}

    def test_have_only_settings_that_exist(self) -> None:
        values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
        assert {name.lower() for name in values["settings"]} <= Settings.model_fields.keys()


def test_helm_finds_no_fault() -> None:
    run_helm("lint", "--strict", str(CHART), *options(NEEDED))


def test_the_versions_are_those_of_the_service() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION)


def test_the_readme_has_the_values() -> None:
    """If this fails: python -m tests.support.chart --write."""
    assert README.read_text(encoding="utf-8") == readme()


class TestNotes:
    def test_say_how_to_reach_the_api(self) -> None:
        assert "port-forward svc/release-task-service-api 8000:8000" in notes({})
        assert "WARNING" not in notes(SCALED)

    def test_warn_of_an_ingress_that_is_not_trusted(self) -> None:
        ingress = {"ingress.enabled": True, "ingress.host": "a.example"}
        assert "FORWARDED_ALLOW_IPS is not set" in notes(ingress)
        assert "WARNING" not in notes({**ingress, "settings.FORWARDED_ALLOW_IPS": "10.0.0.1"})

    def test_warn_where_keda_would_be_refused(self) -> None:
        host = "release-task-service-api.default.svc"
        assert f"ALLOWED_HOSTS lacks {host}" in notes({**SCALED, "settings.ALLOWED_HOSTS": "a.example"})
        assert "WARNING" not in notes({**SCALED, "settings.ALLOWED_HOSTS": f"a.example,{host}"})
        assert "WARNING" not in notes({"settings.ALLOWED_HOSTS": "a.example"})
