{{- define "tercet.gatewayContainer" -}}
image: {{ include "tercet.image" (dict "root" . "key" "gateway" "image" "gateway") }}
imagePullPolicy: {{ .Values.images.pullPolicy }}
args: [--settings, /etc/tercet/gateway.json]
{{- with .Values.gateway.extraEnv }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  - name: http
    containerPort: 8000
    protocol: TCP
  - name: metrics
    containerPort: 9400
    protocol: TCP
# New turns still come until all have heard that this pod goes; after SIGTERM it takes none.
lifecycle:
  preStop: {sleep: {seconds: 10}}
startupProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
# Ready once all deployments are known: one of them that does not serve is no reason to close the others.
readinessProbe:
  httpGet: {path: /readyz, port: http}
  periodSeconds: 5
  timeoutSeconds: 5
resources:
  {{- toYaml .Values.gateway.resources | nindent 2 }}
securityContext:
  {{- include "tercet.containerSecurity" . | nindent 2 }}
volumeMounts:
  - name: settings
    mountPath: /etc/tercet
    readOnly: true
  - name: tmp
    mountPath: /tmp
{{- end -}}

{{/* Each constraint counts the pods of one ReplicaSet, unless it says otherwise. */}}
{{- define "tercet.gatewaySpread" -}}
{{- $selector := include "tercet.selector" (dict "root" . "component" "gateway") | fromYaml -}}
{{- $usual := dict "labelSelector" (dict "matchLabels" $selector) "matchLabelKeys" (list "pod-template-hash") -}}
{{- with .Values.gateway.topologySpreadConstraints -}}
topologySpreadConstraints:
{{- range . }}
  {{- list (mergeOverwrite (deepCopy $usual) .) | toYaml | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}
