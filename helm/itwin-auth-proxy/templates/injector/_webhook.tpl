{{- define "itwin-auth-proxy.injector.secret" -}}
{{- if eq .Values.injector.certificate.from "secret" -}}
{{ .Values.injector.certificate.existingSecret }}
{{- else -}}
{{ include "itwin-auth-proxy.name" . }}-tls
{{- end -}}
{{- end -}}

{{- /* what both webhooks have in common */ -}}
{{- define "itwin-auth-proxy.webhook" -}}
clientConfig:
  service: { name: {{ include "itwin-auth-proxy.name" . }}, namespace: {{ .Release.Namespace }}, path: /mutate, port: 443 }
  {{- if eq .Values.injector.certificate.from "secret" }}
  caBundle: {{ b64enc .Values.injector.certificate.caBundle }}
  {{- end }}
rules:
  - { operations: [CREATE], apiGroups: [""], apiVersions: [v1], resources: [pods], scope: Namespaced }
admissionReviewVersions: [v1]
matchPolicy: Equivalent
# webhooks that run later may change the pod; what was done already is recognized
reinvocationPolicy: IfNeeded
sideEffects: None
timeoutSeconds: {{ .Values.injector.timeoutSeconds }}
{{- end -}}

{{- /* namespaces: not those of the cluster, not our own; and what else is asked for */ -}}
{{- define "itwin-auth-proxy.namespaces" -}}
{{- with .Values.injector.namespaceSelector.matchLabels }}
matchLabels:
  {{- toYaml . | nindent 2 }}
{{- end }}
matchExpressions:
  - key: kubernetes.io/metadata.name
    operator: NotIn
    values: {{ toJson (uniq (append .Values.injector.excludedNamespaces .Release.Namespace)) }}
  {{- with .Values.injector.namespaceSelector.matchExpressions }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
