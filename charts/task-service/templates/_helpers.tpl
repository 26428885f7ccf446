{{- define "task-service.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that select pods: they never change. Takes (list $ "api"). */}}
{{- define "task-service.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: task-service
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "task-service.labels" -}}
{{- $root := index . 0 -}}
{{ include "task-service.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "task-service.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* A pool with its defaults, as YAML. Takes (list $ $pool). A list of the pool replaces that of the defaults. */}}
{{- define "task-service.pool" -}}
{{- $root := index . 0 -}}
{{ toYaml (mergeOverwrite (deepCopy $root.Values.poolDefaults) (index . 1 | default dict)) }}
{{- end -}}

{{- define "task-service.secret" -}}
{{- required "existingSecret: name a secret with SECRET_KEY, DATABASE_URL and CELERY_BROKER_URL" .Values.existingSecret -}}
{{- end -}}

{{/* Variables of a process. Takes (list $ settings): those of the pool win over those of the chart. */}}
{{- define "task-service.env" -}}
{{- $root := index . 0 -}}
{{- $storage := $root.Values.storage.url -}}
{{- if $root.Values.storage.existingClaim -}}{{- $storage = "file:///files" -}}{{- end -}}
{{- $required := required "storage: set storage.url (s3://bucket/prefix) or storage.existingClaim (a ReadWriteMany claim)" $storage -}}
{{- $all := mergeOverwrite (dict "STORAGE_URL" $required) (deepCopy $root.Values.settings) (deepCopy (index . 1)) -}}
{{- range $name, $value := $all }}
- name: {{ $name }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- end -}}

{{/* What all pods share. Takes (list $ component placement), where placement has nodeSelector, tolerations, affinity. */}}
{{- define "task-service.pod" -}}
{{- $root := index . 0 -}}
{{- $placement := index . 2 -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $root.Values.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "task-service.selector" (list $root (index . 1)) | nindent 8 }}
{{- range $name := list "nodeSelector" "tolerations" "affinity" }}
{{- with index $placement $name }}
{{ $name }}: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
volumes:
  - name: tmp
    emptyDir: {}
  - name: data
    emptyDir: {}
{{- with $root.Values.storage.existingClaim }}
  - name: files
    persistentVolumeClaim:
      claimName: {{ . }}
{{- end }}
{{- end -}}

{{/* What all containers share. Takes (list $ resources settings), and a further secret, whose variables win. */}}
{{- define "task-service.container" -}}
{{- $root := index . 0 -}}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
resources: {{- toYaml (index . 1) | nindent 2 }}
envFrom:
  - secretRef:
      name: {{ include "task-service.secret" $root }}
  {{- range slice . 3 }}
  - secretRef:
      name: {{ . }}
  {{- end }}
env: {{- include "task-service.env" (list $root (index . 2)) | trim | nindent 2 }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
  - name: data
    mountPath: /data
{{- if $root.Values.storage.existingClaim }}
  - name: files
    mountPath: /files
{{- end }}
{{- end -}}

{{/* Metadata of a pod. Takes (list $ component). */}}
{{- define "task-service.podMetadata" -}}
{{- $root := index . 0 -}}
labels: {{- include "task-service.labels" . | nindent 2 }}
{{- with $root.Values.podAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
