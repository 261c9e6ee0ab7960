{{/* What the operator may do where it keeps pipelines. No Secrets, no wildcards, nothing that it does not use. */}}
{{- define "operator.rules" -}}
- apiGroups: [stockpipeline.dev]
  resources: [stockpipelines]
  verbs: [list, watch, patch]
- apiGroups: [stockpipeline.dev]
  resources: [stockpipelines/status]
  verbs: [patch]
# Owner references that block deletion need it where the admission plugin for them is on, as a change of such a reference needs the right to
# delete the object that has it.
- apiGroups: [stockpipeline.dev]
  resources: [stockpipelines/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [configmaps, serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments, controllerrevisions]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# Only a pod's events say why its volumes cannot be mounted.
- apiGroups: [""]
  resources: [events]
  verbs: [list]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{- define "operator.subjects" -}}
subjects:
  - kind: ServiceAccount
    name: {{ include "operator.serviceAccountName" . }}
    namespace: {{ .Release.Namespace }}
{{- end -}}
