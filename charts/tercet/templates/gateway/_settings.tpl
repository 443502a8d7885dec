{{/* The gateway's settings file, see gateway/tercet_gateway/settings.py; what is left out has its default there. */}}
{{- define "tercet.gatewaySettings" -}}
{{- $gateway := .Values.gateway -}}
host: 0.0.0.0
cluster:
  namespaces: {{ toJson .Values.operator.namespaces }}
limits: {{ toJson $gateway.settings.limits }}
media: {{ toJson (mergeOverwrite (dict) $gateway.settings.media (dict "allowed_hosts" $gateway.mediaHosts)) }}
timeouts: {{ toJson (mergeOverwrite (dict) $gateway.settings.timeouts (dict "drain_s" $gateway.drainSeconds)) }}
{{- end -}}
