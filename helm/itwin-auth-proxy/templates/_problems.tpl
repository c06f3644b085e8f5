{{- /* What no schema can say: all problems at once, each with the value's name. */ -}}
{{- define "itwin-auth-proxy.problems" -}}
{{- $problems := list -}}
{{- $simple := not .Values.config -}}
{{- if and $simple (ne .Values.mode "injector") -}}
{{- if and (ne .Values.client.from "secret") (not .Values.client.id) -}}
{{- $problems = append $problems (printf "client.id: is missing; with client.from=%s it cannot be read from a Secret" .Values.client.from) -}}
{{- end -}}
{{- if and (eq .Values.client.from "secret") (not .Values.client.existingSecret) -}}
{{- $problems = append $problems "client.existingSecret: is missing; printf %s \"$SECRET\" | kubectl create secret generic itwin-client --from-literal=client-id=service-… --from-file=client-secret=/dev/stdin" -}}
{{- end -}}
{{- if and (eq .Values.client.from "csi") (not .Values.client.csi.secretProviderClass) -}}
{{- $problems = append $problems "client.csi.secretProviderClass: is missing" -}}
{{- end -}}
{{- if and (eq .Values.client.from "workloadIdentity") (not .Values.client.workloadIdentity.audience) -}}
{{- $problems = append $problems "client.workloadIdentity.audience: is missing; it is what the authorization server expects as aud" -}}
{{- end -}}
{{- end -}}
{{- if eq .Values.mode "gateway" -}}
{{- if eq (int .Values.port) (int .Values.adminPort) -}}
{{- $problems = append $problems "adminPort: is the same as port" -}}
{{- end -}}
{{- if and $simple (not .Values.callers.existingSecret) (not .Values.callers.networks) -}}
{{- $problems = append $problems "callers.existingSecret: is missing, and callers.networks is empty: whoever may call is the service, so say who may" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- $problems = append $problems "autoscaling.minReplicas: is more than autoscaling.maxReplicas" -}}
{{- end -}}
{{- end -}}
{{- if and (not $simple) (ne .Values.mode "injector") -}}
{{- $gateway := eq .Values.mode "gateway" -}}
{{- $port := ternary .Values.port .Values.sidecar.port $gateway -}}
{{- $bound := false -}}
{{- range .Values.config.listeners -}}
{{- $bind := ternary . (get (ternary (dict) . (kindIs "string" .)) "bind") (kindIs "string" .) -}}
{{- if hasSuffix (printf ":%v" $port) (toString $bind) -}}{{- $bound = true -}}{{- end -}}
{{- end -}}
{{- if not $bound -}}
{{- $whole := ternary "" "; config replaces all that the values would make, so it needs listeners, routes and credentials" (not (empty .Values.config.listeners)) -}}
{{- $problems = append $problems (printf "config.listeners: none is bound to port %v, where calls come to (%s)%s" $port (ternary "port" "sidecar.port" $gateway) $whole) -}}
{{- end -}}
{{- if .Values.config.admin -}}
{{- if not (kindIs "map" .Values.config.admin) -}}
{{- $problems = append $problems "config.admin: must be a map here; its address comes from adminPort" -}}
{{- else if hasKey .Values.config.admin "bind" -}}
{{- $problems = append $problems (printf "config.admin.bind: comes from %s" (ternary "adminPort and bindAddress" "sidecar.adminPort" $gateway)) -}}
{{- end -}}
{{- end -}}
{{- range $key := list "drain_delay" "drain_timeout" -}}
{{- if and $gateway (hasKey (default (dict) $.Values.config.limits) $key) -}}
{{- $problems = append $problems (printf "config.limits.%s: comes from drain, because the pod's grace period depends on it" $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range (include "itwin-auth-proxy.secretsIn" (dict "at" "config" "value" .Values.config) | splitList "\n") -}}
{{- with trim . -}}{{- $problems = append $problems . -}}{{- end -}}
{{- end -}}
{{- if eq .Values.mode "injector" -}}
{{- if .Values.autoscaling.enabled -}}
{{- $problems = append $problems "autoscaling.enabled: is for the gateway; an injector needs a few replicas" -}}
{{- end -}}
{{- with .Values.injector.certificate -}}
{{- if eq .from "secret" -}}
{{- if not .existingSecret -}}{{- $problems = append $problems "injector.certificate.existingSecret: is missing" -}}{{- end -}}
{{- if not (contains "BEGIN CERTIFICATE" .caBundle) -}}{{- $problems = append $problems "injector.certificate.caBundle: is missing or no PEM; --set-file injector.certificate.caBundle=ca.crt" -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- if eq (int .Values.adminPort) 8443 -}}
{{- $problems = append $problems "adminPort: 8443 is the webhook's" -}}
{{- end -}}
{{- end -}}
{{- if eq (int .Values.sidecar.port) (int .Values.sidecar.adminPort) -}}
{{- $problems = append $problems "sidecar.adminPort: is the same as sidecar.port" -}}
{{- end -}}
{{- if and .Values.prometheusRule.enabled (not .Values.serviceMonitor.enabled) -}}
{{- $problems = append $problems "prometheusRule.enabled: needs serviceMonitor.enabled" -}}
{{- end -}}
{{- if $problems -}}
{{- fail (printf "\n\n  %s\n" (join "\n  " $problems)) -}}
{{- end -}}
{{- end -}}

{{- /* Secrets that are written in the configuration, which is a ConfigMap that many may read: a line for each. */ -}}
{{- define "itwin-auth-proxy.secretsIn" -}}
{{- $at := .at -}}
{{- if kindIs "map" .value -}}
{{- range $key, $value := .value -}}
{{- $here := printf "%s.%s" $at $key -}}
{{- $inline := has $key (list "client_secret" "client_secret_previous" "private_key" "password" "secret") -}}
{{- if and (eq $key "key") (or (hasSuffix ".admin" $at) (hasSuffix ".token_store" $at)) -}}{{- $inline = true -}}{{- end -}}
{{- if and $inline (kindIs "string" $value) }}
{{ $here }}: a secret must not be in a ConfigMap; write {{ $key }}_file: /run/secrets/NAME/KEY and name its Secret in secrets
{{ end -}}
{{- include "itwin-auth-proxy.secretsIn" (dict "at" $here "value" $value) -}}
{{- end -}}
{{- else if kindIs "slice" .value -}}
{{- range $n, $value := .value -}}
{{- include "itwin-auth-proxy.secretsIn" (dict "at" (printf "%s[%d]" $at $n) "value" $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}
