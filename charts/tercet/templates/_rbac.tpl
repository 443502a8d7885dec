{{/*
What operator and gateway may do with the OmniDeployments of the namespaces that they serve: a ClusterRole where
they serve all, else a Role in each. (dict "root" $ "component" "operator" "rules" LIST)
*/}}

{{- define "tercet.servedRoles" -}}
{{- $context := . -}}
{{- $namespaces := .root.Values.operator.namespaces -}}
{{- if not $namespaces }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {{ include "tercet.clusterName" . }}
  {{- include "tercet.metadata" . | nindent 2 }}
rules:
  {{- toYaml .rules | nindent 2 }}
{{- end }}
{{- range $namespaces }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ include "tercet.clusterName" $context }}
  namespace: {{ . }}
  {{- include "tercet.metadata" $context | nindent 2 }}
rules:
  {{- toYaml $context.rules | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "tercet.servedBindings" -}}
{{- $context := . -}}
{{- $namespaces := .root.Values.operator.namespaces -}}
{{- if not $namespaces }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ include "tercet.clusterName" . }}
  {{- include "tercet.metadata" . | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ include "tercet.clusterName" . }}
{{ include "tercet.subjects" . }}
{{- end }}
{{- range $namespaces }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ include "tercet.clusterName" $context }}
  namespace: {{ . }}
  {{- include "tercet.metadata" $context | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ include "tercet.clusterName" $context }}
{{ include "tercet.subjects" $context }}
{{- end }}
{{- end -}}

{{/* Outside of the release's namespace another release may have the same name. */}}
{{- define "tercet.clusterName" -}}
{{ .root.Release.Namespace }}-{{ include "tercet.name" . }}
{{- end -}}

{{- define "tercet.subjects" -}}
subjects:
  - kind: ServiceAccount
    name: {{ include "tercet.name" . }}
    namespace: {{ .root.Release.Namespace }}
{{- end -}}
