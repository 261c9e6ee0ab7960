{{/* Everything that the operator is set to stands in its arguments, so that `plan` can read it from there. */}}
{{- define "operator.arguments" -}}
- run
- --log-format={{ .Values.log.format }}
- --lease-name={{ include "operator.fullname" . }}
- --worker-image={{ include "operator.image" (dict "image" .Values.worker.image "root" $) }}
{{- with .Values.worker.image.pullPolicy }}
- --worker-image-pull-policy={{ . }}
{{- end }}
{{- range .Values.worker.imagePullSecrets }}
- --worker-image-pull-secret={{ . }}
{{- end }}
{{- range $role := list "producer" "sink" }}
{{- $resources := index $.Values.worker (printf "%sResources" $role) }}
{{- range $name, $quantity := $resources.requests }}
- --{{ $role }}-request={{ $name }}={{ $quantity }}
{{- end }}
{{- range $name, $quantity := $resources.limits }}
- --{{ $role }}-limit={{ $name }}={{ $quantity }}
{{- end }}
{{- end }}
- --scratch-limit={{ .Values.worker.scratchLimit }}
{{- if not .Values.worker.networkPolicy.enabled }}
- --no-network-policies
{{- end }}
{{- range .Values.worker.networkPolicy.metricsNamespaces }}
- --metrics-namespace={{ . }}
{{- end }}
{{- range .Values.worker.networkPolicy.egressPorts }}
- --worker-egress-port={{ . }}
{{- end }}
{{- range .Values.watchNamespaces }}
- --watch-namespace={{ . }}
{{- end }}
{{- with .Values.cluster }}
- --cluster-name={{ . }}
{{- end }}
{{- if .Values.readOnly }}
- --read-only
{{- end }}
- --concurrency={{ .Values.concurrency }}
{{- with .Values.driftInterval }}
- --drift-interval={{ . }}
{{- end }}
- --status-interval={{ .Values.statusInterval }}
- --cleanup-deadline={{ .Values.cleanupDeadline }}
{{- range .Values.allow.endpoints }}
- --allow-endpoint={{ . }}
{{- end }}
{{- range $namespace, $roles := .Values.allow.roles }}
{{- range $roles }}
- --allow-role={{ $namespace }}={{ . }}
{{- end }}
{{- end }}
{{- range $namespace, $databases := .Values.allow.adopt }}
{{- range $databases }}
- --allow-adopt={{ $namespace }}={{ . }}
{{- end }}
{{- end }}
{{- end -}}
