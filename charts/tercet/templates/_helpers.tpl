{{/* Names, labels, images, and what all pods have in common. A component's templates get (dict "root" $ "component" "operator"). */}}

{{- define "tercet.fullname" -}}
{{- $own := contains "tercet" .Release.Name | ternary .Release.Name (printf "%s-tercet" .Release.Name) -}}
{{- .Values.fullnameOverride | default $own | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "tercet.name" -}}
{{ include "tercet.fullname" .root }}-{{ .component }}
{{- end -}}

{{- define "tercet.selector" -}}
app.kubernetes.io/name: tercet
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "tercet.labels" -}}
{{- with .root.Values.commonLabels }}{{ toYaml . }}
{{ end -}}
{{ include "tercet.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end -}}

{{/* An object's labels and annotations; (dict ... "annotations" MAP "labels" MAP) adds to them. */}}
{{- define "tercet.metadata" -}}
labels:
  {{- include "tercet.labels" . | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with mergeOverwrite (dict) .root.Values.commonAnnotations (.annotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* (dict "root" $ "key" "engineCpu" "image" "engine-cpu"): the whole reference of an image. */}}
{{- define "tercet.image" -}}
{{- $images := .root.Values.images -}}
{{- $built := printf "%s/%s:%s" $images.repository .image ($images.tag | default .root.Chart.AppVersion) -}}
{{- get $images .key | default $built -}}
{{- end -}}

{{/* Of pods: without what changes with the chart alone, which would start them anew. */}}
{{- define "tercet.podMetadata" -}}
{{- $own := get .root.Values .component -}}
labels:
  {{- include "tercet.selector" . | nindent 2 }}
  app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
  {{- with mergeOverwrite (dict) .root.Values.commonLabels $own.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with mergeOverwrite (dict) .root.Values.commonAnnotations $own.podAnnotations (.annotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Who a pod is and where it may run. Service links are off: they would set variables that begin with TERCET_. */}}
{{- define "tercet.pod" -}}
{{- $own := get .root.Values .component -}}
serviceAccountName: {{ include "tercet.name" . }}
enableServiceLinks: false
securityContext:
  {{- include "tercet.podSecurity" . | nindent 2 }}
{{- include "tercet.pullSecrets" . }}
{{- range $key := list "priorityClassName" "nodeSelector" "tolerations" "affinity" }}
{{- with get $own $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "tercet.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "tercet.pullSecrets" -}}
{{- with .root.Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "tercet.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Where callers reach the API; the status of every OmniDeployment shows it. */}}
{{- define "tercet.url" -}}
{{- $gateway := .Values.gateway -}}
{{- if $gateway.url -}}
{{ $gateway.url }}
{{- else if $gateway.ingress.enabled -}}
{{ empty $gateway.ingress.tlsSecret | ternary "http" "https" }}://{{ $gateway.ingress.host }}/v1
{{- else -}}
http://{{ include "tercet.fullname" . }}-gateway.{{ .Release.Namespace }}:{{ $gateway.service.port }}/v1
{{- end -}}
{{- end -}}
