{{- /*
The proxy in the pods of one's own chart. That chart depends on this one with `mode: sidecar`, and gives its
values as the context:

  {{- $proxy := index .Subcharts "itwin-auth-proxy" }}
  initContainers:
    {{- include "itwin-auth-proxy.sidecar.initContainers" $proxy | nindent 4 }}
  containers:
    {{- include "itwin-auth-proxy.sidecar.containers" $proxy | nindent 4 }}
    - name: agent
      env:
        {{- include "itwin-auth-proxy.sidecar.env" $proxy | nindent 8 }}
  volumes:
    {{- include "itwin-auth-proxy.sidecar.volumes" $proxy | nindent 4 }}

and, where `config` is used, `itwin-auth-proxy.sidecar.annotations` in the pod's annotations: pods are made anew when
it changes.

Which of the first two holds the container depends on `sidecar.native` and the cluster; the other is empty.
*/ -}}

{{- define "itwin-auth-proxy.sidecar.native" -}}
{{- if or (eq .Values.sidecar.native "always") (and (eq .Values.sidecar.native "auto") (semverCompare ">=1.29-0" .Capabilities.KubeVersion.Version)) -}}
yes
{{- end -}}
{{- end -}}

{{- define "itwin-auth-proxy.sidecar.initContainers" -}}
{{- if include "itwin-auth-proxy.sidecar.native" . -}}
{{ include "itwin-auth-proxy.sidecar.container" . }}
  # an init container that goes on running: the others start when it is ready, and it ends after them
  restartPolicy: Always
  startupProbe:
    exec: { command: [/usr/local/bin/itwin-auth-proxy, probe] }
    periodSeconds: 1
    timeoutSeconds: 3
    failureThreshold: 300
{{- end -}}
{{- end -}}

{{- define "itwin-auth-proxy.sidecar.containers" -}}
{{- if not (include "itwin-auth-proxy.sidecar.native" .) -}}
{{ include "itwin-auth-proxy.sidecar.container" . }}
  # the first of the containers: the next one is started when this has ended
  lifecycle:
    postStart:
      exec: { command: [/usr/local/bin/itwin-auth-proxy, wait, --timeout, "60"] }
{{- end -}}
{{- end -}}

{{- define "itwin-auth-proxy.sidecar.container" -}}
- name: itwin-auth-proxy
  image: {{ include "itwin-auth-proxy.image" . | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args: [run]
  env:
    {{- if .Values.config }}
    - { name: ITWIN_CONFIG, value: /etc/itwin-auth-proxy/config.yaml }
    {{- else }}
    {{- include "itwin-auth-proxy.client.env" . | nindent 4 }}
    - name: {{ ternary "ITWIN_AUTH_PROXY__CREDENTIALS__AGENT__ASSERTION_FILE" "ITWIN_CLIENT_SECRET_FILE" (eq .Values.client.from "workloadIdentity") }}
      value: {{ include "itwin-auth-proxy.client.file" . }}
    - { name: ITWIN_SCOPES, value: {{ join " " .Values.scopes | quote }} }
    - { name: ITWIN_ENVIRONMENT, value: {{ .Values.environment }} }
    {{- with .Values.upstream }}
    - { name: ITWIN_UPSTREAM, value: {{ . | quote }} }
    {{- end }}
    - { name: ITWIN_BIND, value: "127.0.0.1:{{ .Values.sidecar.port }}" }
    {{- end }}
    - { name: ITWIN_ADMIN_BIND, value: "127.0.0.1:{{ .Values.sidecar.adminPort }}" }
    {{- if .Values.sidecar.allowQuit }}
    - { name: ITWIN_AUTH_PROXY__ADMIN__ALLOW_QUIT, value: "true" }
    {{- end }}
    {{- if not (include "itwin-auth-proxy.sidecar.native" .) }}
    # all containers are told to stop at once: what the agent still does is to succeed
    - { name: ITWIN_AUTH_PROXY__LIMITS__DRAIN_DELAY, value: 5s }
    - { name: ITWIN_AUTH_PROXY__LIMITS__DRAIN_TIMEOUT, value: 20s }
    {{- end }}
    - { name: ITWIN_AUTH_PROXY__WORKERS, value: {{ .Values.sidecar.workers | quote }} }
    - { name: ITWIN_LOG, value: {{ .Values.log.level }} }
    {{- with .Values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  livenessProbe:
    exec: { command: [/usr/local/bin/itwin-auth-proxy, probe, live] }
    timeoutSeconds: 3
  securityContext:
    {{- include "itwin-auth-proxy.containerSecurity" . | nindent 4 }}
  resources:
    {{- toYaml .Values.sidecar.resources | nindent 4 }}
  volumeMounts:
    {{- if .Values.config }}
    - { name: itwin-auth-proxy-config, mountPath: /etc/itwin-auth-proxy, readOnly: true }
    {{- else }}
    - { name: itwin-auth-proxy-client, mountPath: /run/secrets/client, readOnly: true }
    {{- end }}
    {{- range $at, $name := .Values.secrets }}
    - { name: itwin-auth-proxy-{{ $at }}, mountPath: /run/secrets/{{ $name }}, readOnly: true }
    {{- end }}
    - { name: itwin-auth-proxy-tmp, mountPath: /tmp }
    {{- with .Values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{- define "itwin-auth-proxy.sidecar.volumes" -}}
{{- if .Values.config -}}
- name: itwin-auth-proxy-config
  configMap: { name: {{ include "itwin-auth-proxy.name" . }} }
{{- else -}}
- name: itwin-auth-proxy-client
  {{- include "itwin-auth-proxy.client.volume" . | nindent 2 }}
{{- end }}
{{- range $at, $name := .Values.secrets }}
- name: itwin-auth-proxy-{{ $at }}
  secret: { secretName: {{ $name }}, defaultMode: 0444 }
{{- end }}
# bodies that are kept for a replay and do not fit into memory
- name: itwin-auth-proxy-tmp
  emptyDir: {}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* for the other containers: what to call instead of https://api.bentley.com */ -}}
{{- define "itwin-auth-proxy.sidecar.env" -}}
- { name: ITWIN_AUTH_PROXY_URL, value: "http://127.0.0.1:{{ .Values.sidecar.port }}" }
{{- end -}}

{{- define "itwin-auth-proxy.sidecar.annotations" -}}
{{- if .Values.config -}}
checksum/itwin-auth-proxy: {{ include "itwin-auth-proxy.sidecar.config" . | sha256sum }}
{{- end -}}
{{- end -}}
