{{- define "itwin-auth-proxy.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "itwin-auth-proxy.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: {{ .Values.mode }}
{{- end -}}

{{- define "itwin-auth-proxy.labels" -}}
{{ include "itwin-auth-proxy.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- /* name, namespace and labels of every object */ -}}
{{- define "itwin-auth-proxy.metadata" -}}
name: {{ include "itwin-auth-proxy.name" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "itwin-auth-proxy.labels" . | nindent 2 }}
{{- end -}}

{{- define "itwin-auth-proxy.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ printf "%s@%s" .repository .digest }}
{{- else -}}
{{ printf "%s:%s" .repository (default $.Chart.AppVersion .tag) }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "itwin-auth-proxy.serviceAccount" -}}
{{- if .Values.serviceAccount.name -}}
{{ .Values.serviceAccount.name }}
{{- else if .Values.serviceAccount.create -}}
{{ include "itwin-auth-proxy.name" . }}
{{- else -}}
default
{{- end -}}
{{- end -}}

{{- define "itwin-auth-proxy.containerSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- define "itwin-auth-proxy.probes" -}}
startupProbe:
  httpGet: { path: /startup, port: admin }
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet: { path: /live, port: admin }
readinessProbe:
  httpGet: { path: /ready, port: admin }
  periodSeconds: 2
{{- end -}}

{{- /* what the gateway's pod and the injector's have in common, but for containers and volumes */ -}}
{{- define "itwin-auth-proxy.podSpec" -}}
serviceAccountName: {{ include "itwin-auth-proxy.serviceAccount" . }}
enableServiceLinks: false
# the delay, the time for calls under way, and a little more
terminationGracePeriodSeconds: {{ add .Values.drain.delaySeconds .Values.drain.timeoutSeconds 5 }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: { type: RuntimeDefault }
{{- with .Values.topologySpread }}
topologySpreadConstraints:
  {{- range . }}
  - {{ toYaml . | indent 4 | trim }}
    labelSelector:
      matchLabels:
        {{- include "itwin-auth-proxy.selector" $ | nindent 8 }}
  {{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* labels and annotations of pods */ -}}
{{- define "itwin-auth-proxy.podMetadata" -}}
labels:
  {{- with .Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- include "itwin-auth-proxy.labels" . | nindent 2 }}
annotations:
  checksum/config: {{ include (printf "itwin-auth-proxy.%s.config" .Values.mode) . | sha256sum }}
  {{- with .Values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
