{{- define "itwin-auth-proxy.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "itwin-auth-proxy.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "itwin-auth-proxy.labels" -}}
{{ include "itwin-auth-proxy.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- /* The configuration file: the one that is given, or one made of the values. */ -}}
{{- define "itwin-auth-proxy.config" -}}
{{- if .Values.config -}}
{{- toYaml .Values.config -}}
{{- else -}}
{{- $provider := ternary "bentley" "bentley-qa" (eq .Values.environment "production") -}}
credentials:
  agent:
    provider: {{ $provider }}
    grant: client_credentials
    client_id: {{ .Values.clientId | quote }}
    client_secret_file: /run/secrets/client/{{ .Values.clientSecret.key }}
    scopes: {{ toJson .Values.scopes }}
listeners:
  - bind: 0.0.0.0:{{ .Values.port }}
    {{- if .Values.tls.existingSecret }}
    tls: { certificate: /run/secrets/tls/tls.crt, key: /run/secrets/tls/tls.key }
    {{- end }}
routes:
  - name: itwin
    inject: agent
    admit:
      - key:
          header: x-itwin-proxy-key
          secret_file: /run/secrets/callers/{{ .Values.callerKey.key }}
admin:
  bind: 0.0.0.0:{{ .Values.adminPort }}
  allow_remote: true
{{- end -}}
{{- end -}}
