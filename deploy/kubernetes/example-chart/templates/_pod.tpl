{{- define "imodel-agent.pod" -}}
{{- $proxy := index .Subcharts "itwin-auth-proxy" -}}
metadata:
  labels:
    app.kubernetes.io/name: imodel-agent
  {{- with include "itwin-auth-proxy.sidecar.annotations" $proxy }}
  annotations:
    {{- . | nindent 4 }}
  {{- end }}
spec:
  automountServiceAccountToken: false
  {{- if .Values.job }}
  restartPolicy: Never
  {{- end }}
  {{- with include "itwin-auth-proxy.sidecar.initContainers" $proxy }}
  initContainers:
    {{- . | nindent 4 }}
  {{- end }}
  containers:
    {{- with include "itwin-auth-proxy.sidecar.containers" $proxy }}
    {{- . | nindent 4 }}
    {{- end }}
    - name: agent
      image: {{ .Values.image }}
      env:
        {{- include "itwin-auth-proxy.sidecar.env" $proxy | nindent 8 }}
      securityContext:
        runAsNonRoot: true
        runAsUser: 10001
        allowPrivilegeEscalation: false
        capabilities: { drop: [ALL] }
        seccompProfile: { type: RuntimeDefault }
  volumes:
    {{- include "itwin-auth-proxy.sidecar.volumes" $proxy | nindent 4 }}
{{- end -}}
