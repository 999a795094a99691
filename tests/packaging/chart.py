"""Renders the chart by Helm's own SDK and checks each object against the schemas of Kubernetes.

Run by `uv tool run --from helm-python-sdk --with kubernetes-validate python chart.py CHART`: neither is a dependency of
this project. Prints one JSON document: for each case the objects, or the error; and what `helm lint` found.
"""

import json
import sys

import helm_python as helm  # type: ignore[import-not-found,unused-ignore]
import kubernetes_validate  # type: ignore[import-not-found,unused-ignore]
import yaml  # type: ignore[import-untyped,unused-ignore]

CASES: dict[str, dict[str, object]] = {
    "defaults": {},
    "everything": {
        "replicas": 3,
        "image": {"repository": "registry.example/weighbridge", "digest": "sha256:" + "a" * 64},
        "imagePullSecrets": [{"name": "pull"}],
        "existingSecrets": ["providers"],
        "postgresql": {"existingSecret": "ledger"},
        "store": {"storageClassName": "fast", "size": "100Gi", "durability": "power"},
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "prometheusRule": {"enabled": True},
        "podAnnotations": {"a/b": "c"},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "llm", "operator": "Exists"}],
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "weighbridge"}},
            }
        ],
        "service": {"type": "LoadBalancer", "annotations": {"x": "y"}},
    },
    "replicas without a shared ledger": {"replicas": 2},
    "an unknown value": {"replica": 2},
    "a server section of their own": {"config": "[server]\nlisten = '0.0.0.0:1'\n"},
}


def objects(chart: "helm.Chart", values: dict[str, object]) -> object:
    try:
        chart.validate_schema(values)
        rendered = chart.render(values, name="demo", namespace="llm")
    except helm.HelmError as error:
        return {"error": str(error)}
    found = []
    for name, text in sorted(rendered.items()):
        if not name.endswith(".yaml"):
            continue
        for one in yaml.safe_load_all(text):
            if one is None:
                continue
            if one["apiVersion"].startswith("monitoring."):
                found.append({"object": one, "problem": None})  # custom resources: their schemas are the operator's
                continue
            try:
                kubernetes_validate.validate(one, "1.33", strict=True)
                problem = None
            except kubernetes_validate.ValidationError as error:
                problem = str(error)
            found.append({"object": one, "problem": problem})
    return found


def main(path: str) -> None:
    with helm.Chart.load(path) as chart:
        made = {name: objects(chart, values) for name, values in CASES.items()}
    json.dump({"cases": made, "lint": str(helm.lint(path)), "helm": helm.helm_sdk_version()}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
