"""The files of deploy/: what they name is there, and means what they take it for."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rebalancer.errors import ConfigError, KeeperNotAuthorized, LedgerMismatch
from rebalancer.reasons import Reason
from rebalancer.settings import describe
from rebalancer.watch.alarm_state import Alarms
from rebalancer.watch.alarms import ALARMS, AlarmLimits
from rebalancer.watch.metrics import Metrics
from tests.ticks import decision, outcome, tick

FUNCTIONS = {
    *("sum", "min", "max", "by", "le", "on", "time", "rate", "increase", "unless"),
    *("histogram_quantile", "group_right"),
}
"""What PromQL knows by itself, of what is used here."""


@pytest.fixture(scope="module")
def deploy(repo_root: Path) -> Path:
    return repo_root / "deploy"


@pytest.fixture(scope="module")
def samples() -> dict[str, list[dict[str, str]]]:
    """All metrics by name, with the labels of each line, of a keeper that has done something."""
    alarms = Alarms(AlarmLimits(0), 60)
    metrics = Metrics(alarms)
    metrics(tick(decisions=(decision(reason=Reason.REBALANCED, outcome=outcome(10, 1)),)))
    found: dict[str, list[dict[str, str]]] = {"up": [{}]}
    for family in metrics.registry.collect():
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


def compare(expr: str, samples: dict[str, list[dict[str, str]]]) -> None:
    """Hold an expression to the metrics: every name is one, has the labels it is asked for, and takes the values."""
    assert expr.count("(") == expr.count(")")
    assert expr.count("{") == expr.count("}")
    bare = re.sub(r'"[^"]*"|\[\w+\]', "", expr)
    labels = {label for line in (each for lines in samples.values() for each in lines) for label in line}
    words = set(re.findall(r"[a-z_]\w*", bare))
    assert words - FUNCTIONS - labels - {"job", "instance"} <= samples.keys()
    for name, requested in re.findall(r"(\w+)\{([^}]*)\}", expr):
        for label, sign, value in re.findall(r'(\w+)(=~|!=|=)"([^"]*)"', requested):
            if label == "job":
                assert value == "rebalancer"
                continue
            values = {line.get(label) for line in samples[name]}
            assert values != {None}, f"{name} has no label {label}"
            assert sign != "=" or value in values, f"{name} has no {label} {value}"


# Alerts and dashboard


@pytest.mark.parametrize("name", [alarm.name for alarm in ALARMS])
def test_rule_names_metrics_that_are_there(name: str, samples: dict[str, list[dict[str, str]]]) -> None:
    (expr,) = [alarm.expr for alarm in ALARMS if alarm.name == name]

    compare(expr, samples)


@pytest.mark.parametrize(
    "expr",
    [
        "rebalancer_block_numbers > 1",
        'rebalancer_vaults{reason="InBnad"} > 1',
        'rebalancer_vaults{raeson="InBand"} > 1',
        "sum(rebalancer_vaults > 1",
        "avgg(rebalancer_vaults)",
    ],
)
def test_expression_with_a_mistake_is_found(expr: str, samples: dict[str, list[dict[str, str]]]) -> None:
    with pytest.raises(AssertionError):
        compare(expr, samples)


@pytest.fixture(scope="module")
def dashboard(deploy: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((deploy / "grafana.json").read_text())
    return found


def charts(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (panel for panel in dashboard["panels"] if panel["type"] != "row")


def test_dashboard_names_metrics_that_are_there(
    dashboard: dict[str, Any], samples: dict[str, list[dict[str, str]]]
) -> None:
    exprs = [target["expr"] for panel in charts(dashboard) for target in panel["targets"]]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"]).groups()  # type: ignore[union-attr] # it matches or the test fails
            assert label in samples[metric][0]
            assert variable["query"]["query"] == variable["definition"]

    assert len(exprs) > 25
    for expr in exprs:
        compare(expr, samples)


def test_dashboard_shows_every_metric_of_the_keeper(
    dashboard: dict[str, Any], samples: dict[str, list[dict[str, str]]]
) -> None:
    text = json.dumps(dashboard)
    families = {re.sub(r"_(total|bucket|count|sum|created)$", "", name) for name in samples}
    unshown = {name for name in families if name.startswith("rebalancer_") and name not in text}

    # A version is for whoever asks, and these three are told in another way by what is drawn.
    assert unshown == {
        "rebalancer_build_info",
        "rebalancer_block_number",
        "rebalancer_last_tick_seconds",
        "rebalancer_consecutive_failures",
    }


def test_dashboard_is_as_grafana_loads_it(dashboard: dict[str, Any]) -> None:
    panels = dashboard["panels"]
    assert dashboard["uid"]
    assert dashboard["schemaVersion"] >= 39
    assert {variable["name"] for variable in dashboard["templating"]["list"]} == {"source", "chain"}
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, f"{panel['title']} lies on another"
        taken |= cells
    for panel in charts(dashboard):
        assert panel["title"]
        assert panel["type"] in ("stat", "timeseries", "heatmap", "state-timeline", "table")
        assert panel["fieldConfig"]["defaults"]["unit"]
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs) > 0
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"]
            assert target["datasource"] == {"type": "prometheus", "uid": "${source}"}
            requested = set(re.findall(r"\$\{?(\w+)", target["expr"]))
            assert requested <= {"chain"}


def test_promtool_takes_the_rules_and_the_dashboard(deploy: Path, dashboard: dict[str, Any], tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (on Debian it comes with the package prometheus)")
    shutil.copy(deploy / "alerts.yml", tmp_path)
    shutil.copy(deploy / "prometheus.yml", tmp_path)
    rules = [
        {
            "record": f"x:{panel['id']}:{target['refId']}",
            "expr": target["expr"].replace("$chain", ".*"),
        }
        for panel in charts(dashboard)
        for target in panel["targets"]
    ]
    group = {"groups": [{"name": "dashboard", "rules": rules}]}
    (tmp_path / "dashboard.yml").write_text(yaml.safe_dump(group))
    for arguments in (["config", "prometheus.yml"], ["rules", "dashboard.yml"]):
        run = subprocess.run([promtool, "check", *arguments], cwd=tmp_path, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr


# Service and containers


def variables(text: str) -> set[str]:
    return set(re.findall(r"REBALANCER_\w+(?=[=:])", text))


@pytest.mark.parametrize("name", ["rebalancer.service", "compose.yaml", "Dockerfile"])
def test_every_variable_is_a_setting(deploy: Path, name: str) -> None:
    found = variables((deploy / name).read_text())

    assert found
    assert found <= {setting.variable for setting in describe()}


def test_service_is_one_that_systemd_takes(deploy: Path, tmp_path: Path) -> None:
    systemd = shutil.which("systemd-analyze")
    if systemd is None:
        pytest.skip("systemd-analyze is not installed")
    text = (deploy / "rebalancer.service").read_text()
    unit = tmp_path / "rebalancer.service"
    unit.write_text(text.replace("/opt/rebalancer/bin/rebalancer", "/bin/true"))
    run = subprocess.run([systemd, "verify", unit], capture_output=True, text=True)

    assert (run.returncode, run.stderr) == (0, "")


def test_service_restarts_unless_a_person_has_to_come(deploy: Path) -> None:
    text = (deploy / "rebalancer.service").read_text()
    (codes,) = re.findall(r"^RestartPreventExitStatus=(.*)$", text, re.MULTILINE)
    wanting = [ConfigError.exit_code, KeeperNotAuthorized.exit_code, LedgerMismatch.exit_code]

    assert "Restart=on-failure" in text
    assert [int(code) for code in codes.split()] == wanting


def test_service_keeps_secrets_out_of_the_settings(deploy: Path) -> None:
    lines = (deploy / "rebalancer.service").read_text().splitlines()
    credentials = {name for line in lines for name in re.findall(r"^LoadCredential=([\w-]+):", line)}
    used = {name for line in lines for name in re.findall(r"=%d/([\w-]+)$", line)}

    assert credentials == used == {"keystore", "keystore-password"}


@pytest.fixture(scope="module")
def compose(deploy: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((deploy / "compose.yaml").read_text())
    return found


def test_compose_mounts_files_that_are_there_or_the_operators(compose: dict[str, Any], deploy: Path) -> None:
    volumes = [volume for service in compose["services"].values() for volume in service.get("volumes", [])]
    files = [volume.split(":")[0] for volume in volumes if volume.startswith("./")]
    files += [secret["file"] for secret in compose["secrets"].values()]
    build = compose["services"]["keeper"]["build"]

    assert {file for file in files if not file.startswith("./local/")} == {
        "./prometheus.yml",
        "./alerts.yml",
        "./grafana.json",
    }
    assert [file for file in files if "local" not in file and not (deploy / file).is_file()] == []
    assert (deploy / build["context"] / build["dockerfile"]).is_file()
    assert "deploy/local/" in (deploy.parent / ".gitignore").read_text().splitlines()


def test_compose_names_nothing_that_is_not_in_it(compose: dict[str, Any]) -> None:
    services = compose["services"]
    named = {
        volume.split(":")[0]
        for service in services.values()
        for volume in service.get("volumes", [])
        if not volume.startswith(".")
    }

    assert named == set(compose["volumes"])
    assert set(services["keeper"]["secrets"]) == set(compose["secrets"])
    assert {each["source"] for each in services["grafana"]["configs"]} == set(compose["configs"])
    for config in compose["configs"].values():
        assert yaml.safe_load(config["content"])["apiVersion"] == 1
    source = yaml.safe_load(compose["configs"]["grafana-source"]["content"])["datasources"][0]
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in services


def test_compose_opens_ports_to_this_machine_alone(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service["ports"]]

    assert len(ports) == 3
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_grafana_knows_no_password_that_everybody_knows(compose: dict[str, Any]) -> None:
    settings = compose["services"]["grafana"]["environment"]

    assert settings["GF_AUTH_BASIC_ENABLED"] == "false"
    assert settings["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"


def test_every_service_drops_its_rights_and_the_keeper_its_core(compose: dict[str, Any], deploy: Path) -> None:
    for service in compose["services"].values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    assert compose["services"]["keeper"]["ulimits"] == {"core": 0}
    assert "\nLimitCORE=0\n" in (deploy / "rebalancer.service").read_text()


def test_service_is_installed_with_hashes_alone(deploy: Path) -> None:
    text = (deploy / "rebalancer.service").read_text()
    builder, packages, wheel = re.findall(r"pip install (.*)", text)

    assert builder.startswith("--require-hashes --no-deps --requirement requirements-build.lock")
    # What comes as source is built by what was just installed, and by nothing that is fetched for it.
    assert "--no-build-isolation" in packages
    assert packages.startswith("--require-hashes --no-deps ")
    assert packages.endswith("--requirement requirements.lock")
    assert wheel.startswith("--no-index --no-deps ")


def test_only_the_keeper_runs_unasked_and_with_no_rights(compose: dict[str, Any]) -> None:
    services = compose["services"]

    assert [name for name, service in services.items() if "profiles" not in service] == ["keeper"]
    assert services["keeper"]["cap_drop"] == ["ALL"]
    assert services["keeper"]["read_only"]


def test_prometheus_asks_the_keeper_where_it_listens(compose: dict[str, Any], deploy: Path) -> None:
    config = yaml.safe_load((deploy / "prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    dockerfile = (deploy / "Dockerfile").read_text()

    assert job["job_name"] == "rebalancer"
    assert job["static_configs"][0]["targets"] == ["keeper:9464"]
    assert "REBALANCER_KEEPER__LISTEN=0.0.0.0:9464" in dockerfile
    assert compose["services"]["keeper"]["ports"] == ["127.0.0.1:9464:9464"]
    assert compose["services"]["keeper"]["environment"]["REBALANCER_KEEPER__ALLOWED_HOSTS"] == "keeper"
    assert config["rule_files"] == ["alerts.yml"]


def test_image_takes_no_package_without_its_hash(deploy: Path) -> None:
    dockerfile = (deploy / "Dockerfile").read_text()
    joined = dockerfile.replace("\\\n", " ")
    installs = re.findall(r"pip (?:install|wheel)[^&\n]*", joined)

    assert len(installs) == 2
    assert "--require-hashes" in installs[0]
    assert "--no-index" in installs[1]
    assert "USER 10001" in dockerfile


def test_image_is_not_built_from_secrets(deploy: Path, repo_root: Path) -> None:
    ignored = (deploy / "Dockerfile.dockerignore").read_text().splitlines()

    assert {".env", "keys", "rebalancer.toml", "deploy/local"} <= set(ignored)
