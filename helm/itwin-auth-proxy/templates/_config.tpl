{{- /* The client: environment variable, volume, mount. Nothing of it where `config` is given. */ -}}

{{- define "itwin-auth-proxy.client.file" -}}
{{- if eq .Values.client.from "workloadIdentity" -}}
/run/secrets/client/token
{{- else -}}
/run/secrets/client/{{ .Values.client.secretKey }}
{{- end -}}
{{- end -}}

{{- define "itwin-auth-proxy.client.env" -}}
- name: ITWIN_CLIENT_ID
  {{- if .Values.client.id }}
  value: {{ .Values.client.id | quote }}
  {{- else }}
  valueFrom: { secretKeyRef: { name: {{ .Values.client.existingSecret | quote }}, key: {{ .Values.client.idKey | quote }} } }
  {{- end }}
{{- end -}}

{{- /* Pods of our own have an fsGroup. Others have none that we know of; there the mount alone, which is the
proxy's only, decides who reads it. */ -}}
{{- define "itwin-auth-proxy.client.volume" -}}
{{- $readable := ternary "0444" "0440" (eq .Values.mode "sidecar") -}}
{{- if eq .Values.client.from "csi" -}}
csi:
  driver: {{ .Values.client.csi.driver }}
  readOnly: true
  volumeAttributes: { secretProviderClass: {{ .Values.client.csi.secretProviderClass }} }
{{- else if eq .Values.client.from "workloadIdentity" -}}
projected:
  defaultMode: {{ $readable }}
  sources:
    - serviceAccountToken:
        audience: {{ .Values.client.workloadIdentity.audience | quote }}
        expirationSeconds: {{ .Values.client.workloadIdentity.expirationSeconds }}
        path: token
{{- else -}}
secret:
  secretName: {{ .Values.client.existingSecret | quote }}
  defaultMode: {{ $readable }}
  items: [{ key: {{ .Values.client.secretKey | quote }}, path: {{ .Values.client.secretKey | quote }} }]
{{- end -}}
{{- end -}}

{{- /* The gateway's configuration file: the one that is given, or one made of the values. */ -}}
{{- define "itwin-auth-proxy.gateway.config" -}}
{{- $admin := dict "bind" (printf "%s:%v" .Values.bindAddress .Values.adminPort) "allow_remote" true -}}
{{- $limits := dict "drain_delay" (printf "%vs" .Values.drain.delaySeconds) "drain_timeout" (printf "%vs" .Values.drain.timeoutSeconds) -}}
{{- if .Values.config -}}
{{- $own := dict "admin" $admin "limits" $limits -}}
{{- if .Values.workers }}{{ $own = set $own "workers" .Values.workers }}{{ end -}}
{{- toYaml (mergeOverwrite (dict "log" (dict "level" .Values.log.level)) $own (deepCopy .Values.config)) -}}
{{- else -}}
credentials:
  agent:
    provider: {{ ternary "bentley" "bentley-qa" (eq .Values.environment "production") }}
    grant: client_credentials
    {{ ternary "assertion_file" "client_secret_file" (eq .Values.client.from "workloadIdentity") }}: {{ include "itwin-auth-proxy.client.file" . }}
    scopes: {{ toJson .Values.scopes }}
listeners:
  - bind: {{ printf "%s:%v" .Values.bindAddress .Values.port | quote }}
    {{- if .Values.tls.existingSecret }}
    tls: { certificate: /run/secrets/tls/tls.crt, key: /run/secrets/tls/tls.key }
    {{- end }}
routes:
  - name: itwin
    inject: agent
    {{- with .Values.upstream }}
    upstream: {{ . | quote }}
    {{- end }}
    admit:
      {{- if .Values.callers.existingSecret }}
      - key: { header: x-itwin-proxy-key, secret_file: /run/secrets/callers/{{ .Values.callers.key }} }
      {{- end }}
      {{- with .Values.callers.networks }}
      - networks: {{ toJson . }}
      {{- end }}
{{- if .Values.workers }}
workers: {{ .Values.workers }}
{{- end }}
limits: { drain_delay: {{ $limits.drain_delay }}, drain_timeout: {{ $limits.drain_timeout }} }
admin: { bind: {{ $admin.bind | quote }}, allow_remote: true }
log: { level: {{ .Values.log.level | quote }} }
{{- end -}}
{{- end -}}

{{- /* The injector's configuration file. */ -}}
{{- define "itwin-auth-proxy.injector.config" -}}
bind: {{ printf "%s:8443" .Values.bindAddress | quote }}
admin: {{ printf "%s:%v" .Values.bindAddress .Values.adminPort | quote }}
image: {{ include "itwin-auth-proxy.image" . | quote }}
pull_policy: {{ .Values.image.pullPolicy | quote }}
{{- if eq .Values.injector.certificate.from "managed" }}
certificate:
  managed:
    secret: {{ printf "%s-tls" (include "itwin-auth-proxy.name" .) | quote }}
    namespace: {{ .Release.Namespace | quote }}
    service: {{ include "itwin-auth-proxy.name" . | quote }}
    webhook: {{ include "itwin-auth-proxy.name" . | quote }}
{{- else }}
certificate: { files: { certificate: /run/secrets/tls/tls.crt, key: /run/secrets/tls/tls.key } }
{{- end }}
native_sidecars: {{ .Values.sidecar.native | quote }}
defaults:
  credential_secret: {{ .Values.injector.credentialSecret | quote }}
  scopes: {{ toJson .Values.scopes }}
  environment: {{ .Values.environment | quote }}
  {{- with .Values.upstream }}
  upstream: {{ . | quote }}
  {{- end }}
  mode: {{ .Values.injector.mode | quote }}
  {{- with .Values.injector.urlVariables }}
  url_variables: {{ toJson . }}
  {{- end }}
  {{- with .Values.injector.noProxy }}
  no_proxy: {{ toJson . }}
  {{- end }}
  ipv6: {{ eq .Values.bindAddress "[::]" }}
  port: {{ .Values.sidecar.port }}
  admin_port: {{ .Values.sidecar.adminPort }}
  resources:
    {{- toYaml .Values.sidecar.resources | nindent 4 }}
log: { level: {{ .Values.log.level | quote }} }
{{- end -}}

{{- /* A sidecar's configuration file: what is given. */ -}}
{{- define "itwin-auth-proxy.sidecar.config" -}}
{{- toYaml .Values.config -}}
{{- end -}}
