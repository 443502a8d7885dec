{{/* All that a gateway may do: follow which models there are, and where their servers answer. */}}
{{- define "tercet.gatewayRules" -}}
- apiGroups: [tercet.dev]
  resources: [omnideployments]
  verbs: [list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
{{- end -}}
