{{- define "weighbridge.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "weighbridge.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "weighbridge.labels" -}}
{{ include "weighbridge.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end }}

{{- define "weighbridge.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}{{ else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "weighbridge.toml" -}}
[server]
listen = "0.0.0.0:8400"
admin_listen = "0.0.0.0:8401"
workers = {{ .Values.server.workers }}
log_format = {{ .Values.server.logFormat | quote }}

[store]
path = "/var/lib/weighbridge/store"
durability = {{ .Values.store.durability | quote }}
{{- if .Values.postgresql.existingSecret }}
url = "env:WEIGHBRIDGE_LEDGER_URL"
{{- end }}

{{ .Values.config }}
{{- end }}
