{{/* What the operator may do in the namespaces that it serves; nothing else there is its own. */}}
{{- define "tercet.operatorRules" -}}
# What people ask for, and its answer.
- apiGroups: [tercet.dev]
  resources: [omnideployments]
  verbs: [list, watch]
- apiGroups: [tercet.dev]
  resources: [omnideployments/status]
  verbs: [patch]
# Its children: a server-side apply is a patch, and a create where there is nothing yet.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs: [patch]
- apiGroups: [""]
  resources: [services, configmaps, persistentvolumeclaims]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [list, watch, create, patch, delete]
# Whether they are ready, and what keeps them from it.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# News for people.
- apiGroups: [""]
  resources: [events]
  verbs: [create]
# Its own lease, whose changes show that watches are alive.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [list, watch]
{{- end -}}
