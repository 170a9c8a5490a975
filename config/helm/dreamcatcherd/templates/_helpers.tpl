{{/* The base of every name: dreamcatcherd in a release of that name, otherwise RELEASE-dreamcatcherd. */}}
{{- define "dreamcatcherd.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What selects the pod of this release. The name is fixed: Prometheus takes the job from it. */}}
{{- define "dreamcatcherd.selector" -}}
app.kubernetes.io/name: dreamcatcherd
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "dreamcatcherd.labels" -}}
{{ include "dreamcatcherd.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | replace "+" "-" | trunc 63 | trimSuffix "-" | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* Without a name, no registry is asked for an image that somebody else may have published under it. */}}
{{- define "dreamcatcherd.image" -}}
{{- .Values.image | default (printf "localhost/dreamcatcherd:%s" (.Chart.AppVersion | replace "+" "-")) -}}
{{- end -}}

{{- define "dreamcatcherd.credentials" -}}
{{- .Values.credentialsSecret | default (include "dreamcatcherd.fullname" .) -}}
{{- end -}}
