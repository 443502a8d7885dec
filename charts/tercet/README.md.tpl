# tercet

Real-time speech from Qwen2.5-Omni on Kubernetes: the resource `OmniDeployment`, the operator that makes Triton servers
of it, and the gateway with OpenAI's API. How to install, upgrade and remove it is in
[docs/install.md](../../docs/install.md), what to do about an alert in [docs/runbooks.md](../../docs/runbooks.md).

```
helm install tercet charts/tercet --namespace tercet-system --create-namespace \
  --set images.repository=registry.example.com/tercet
```

- Kubernetes 1.30 or newer; no webhooks, no certificates, no other operator.
- All pods pass the restricted Pod Security level. Rights are those that the code uses, each in `templates/*/` with its
  reason; with `operator.namespaces` nothing but the resource itself is for the whole cluster.
- Nothing needs cluster DNS.

## Values

`values.schema.json` refuses every key that does not stand here.

{{ values }}

## What is where

| folder | |
| --- | --- |
| `templates/<component>` | one object a file |
| `files/omnideployments.yaml` | the resource, written by `python -m tercet_operator.crd` |
| `files/alerts.yaml`, `files/dashboards/` | as Prometheus and Grafana read them |
| `files/first_sound.py` | what `helm test` runs |
| `ci/` | values that every change is rendered with |
| `tests/`, `prometheus-tests/` | helm-unittest and promtool; `tests/chart` runs both |

This page is made by `hack/chart_readme.py`.
