{{/* The image of a program: dict "root" $ "name" NAME. */}}
{{- define "warren.image" -}}
{{- $v := .root.Values.image -}}
{{ $v.repository }}/{{ .name }}:{{ $v.tag | default .root.Chart.AppVersion }}
{{- end }}

{{/* Labels of an object of one component: dict "root" $ "name" NAME. */}}
{{- define "warren.labels" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/part-of: warren
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* Where agents and tunnels find the controller. */}}
{{- define "warren.xds" -}}
https://warren-control.{{ .Release.Namespace }}.svc:15012
{{- end }}

{{/* What every pod of the mesh tells its process of itself. */}}
{{- define "warren.podEnv" -}}
- name: WARREN_POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: WARREN_POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: WARREN_POD_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
{{- end }}

{{/* How a node's component shows who it is to the controller, and knows the controller. */}}
{{- define "warren.trustVolumes" -}}
# A token that only the mesh's CA takes, bound to this pod and its node.
- name: token
  projected:
    sources:
      - serviceAccountToken: {audience: warren-ca, expirationSeconds: 3600, path: token}
# Made by the controller; the pod waits for it.
- name: roots
  configMap: {name: warren-ca-root}
{{- end }}

{{- define "warren.trustMounts" -}}
- {name: token, mountPath: /var/run/secrets/warren/token, readOnly: true}
- {name: roots, mountPath: /var/run/secrets/warren/roots, readOnly: true}
{{- end }}

{{- define "warren.trustArgs" -}}
- --xds={{ include "warren.xds" . }}
- --root-cert=/var/run/secrets/warren/roots/root-cert.pem
- --token=/var/run/secrets/warren/token/token
- --cluster-id={{ .Values.mesh.clusterId }}
{{- end }}

{{- define "warren.logArgs" -}}
- --log={{ .Values.log.filter }}
- --log-format={{ .Values.log.format }}
{{- end }}

{{- define "warren.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}
