{{/* The operator's settings, see operator/tercet_operator/settings.py. */}}
{{- define "tercet.operatorEnv" -}}
- name: TERCET_NAMESPACES
  value: {{ join "," .Values.operator.namespaces | quote }}
- name: TERCET_ENGINE_IMAGE
  value: {{ include "tercet.image" (dict "root" . "key" "engine" "image" "engine") | quote }}
- name: TERCET_ENGINE_CPU_IMAGE
  value: {{ include "tercet.image" (dict "root" . "key" "engineCpu" "image" "engine-cpu") | quote }}
- name: TERCET_IMAGE_PULL_POLICY
  value: {{ .Values.images.pullPolicy }}
- name: TERCET_GATEWAY_SERVICE
  value: {{ .Release.Namespace }}/{{ include "tercet.fullname" . }}-gateway-metrics
- name: TERCET_GATEWAY_URL
  value: {{ include "tercet.url" . | quote }}
- name: TERCET_LEASE_NAMESPACE
  value: {{ include "tercet.leaseNamespace" . }}
- name: TERCET_IDENTITY
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: TERCET_WORKERS
  value: {{ .Values.operator.workers | quote }}
- name: TERCET_RESYNC_S
  value: {{ .Values.operator.resyncSeconds | quote }}
- name: TERCET_METRICS_PORT
  value: "9401"
{{- end -}}

{{/* A served one: the operator takes its watches for dead unless it hears of its own Lease, which changes all the time. */}}
{{- define "tercet.leaseNamespace" -}}
{{ first .Values.operator.namespaces | default .Release.Namespace }}
{{- end -}}
