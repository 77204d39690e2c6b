{{- define "hcw.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Trunc leaves room for the longest suffix and keeps Service names within 63 characters.  They
begin with a letter, so the name of a release such as `123` gets one in front. */}}
{{- define "hcw.fullname" -}}
{{- $name := include "hcw.wantedName" . -}}
{{- regexMatch "^[a-z]" $name | ternary $name (printf "hcw-%s" $name) -}}
{{- end -}}

{{- define "hcw.wantedName" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "hcw.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "hcw.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* `helm upgrade --reuse-values` brings the values of the chart that was there, in which newer ones
are missing: each of those has its default here, or where it is read, too. */}}
{{- define "hcw.opsPort" -}}{{ dig "opsPort" 8080 .Values.webhook }}{{- end -}}

{{- define "hcw.controllerName" -}}{{ include "hcw.fullname" . }}-controller{{- end -}}
{{- define "hcw.caSecret" -}}{{ include "hcw.fullname" . }}-ca{{- end -}}
{{- define "hcw.tlsSecret" -}}
{{- if eq .Values.tls.mode "existingSecret" -}}{{ .Values.tls.existingSecret }}{{- else -}}{{ include "hcw.fullname" . }}-tls{{- end -}}
{{- end -}}
{{- define "hcw.quarantineConfigMap" -}}{{ include "hcw.fullname" . }}-quarantine{{- end -}}
{{- define "hcw.controllerUser" -}}system:serviceaccount:{{ .Release.Namespace }}:{{ include "hcw.controllerName" . }}{{- end -}}
{{- define "hcw.controllerManagesTls" -}}{{ if eq .Values.tls.mode "self-managed" }}true{{ end }}{{- end -}}

{{/* Called with (dict "root" $ "component" "webhook"); the component may be left out. */}}
{{- define "hcw.selectorLabels" -}}
app.kubernetes.io/name: {{ include "hcw.name" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{- define "hcw.labels" -}}
{{- $labels := include "hcw.selectorLabels" . | fromYaml -}}
{{- $labels = merge $labels (dict
  "app.kubernetes.io/version" .root.Chart.AppVersion
  "app.kubernetes.io/managed-by" .root.Release.Service
  "helm.sh/chart" (printf "%s-%s" .root.Chart.Name (.root.Chart.Version | replace "+" "_"))) -}}
{{- toYaml (merge $labels .root.Values.commonLabels) -}}
{{- end -}}

{{/* Labels of a Pod: nothing that changes with the chart alone, so that Pods stay. The last one
keeps the webhook away from its own Pods, wherever they run.
Called with (dict "root" $ "component" "webhook" "values" .Values.webhook). */}}
{{- define "hcw.podLabels" -}}
{{- $labels := merge (include "hcw.selectorLabels" . | fromYaml) (dict "harbor-cache.io/mode" "off") -}}
{{- toYaml (merge $labels .values.podLabels .root.Values.commonLabels) -}}
{{- end -}}

{{/* A registry of your own takes the place of the host in image.repository. */}}
{{- define "hcw.image" -}}
{{- $image := .Values.image -}}
{{- $repository := $image.repository -}}
{{- with $image.registry | default (.Values.global).imageRegistry -}}
{{- $repository = printf "%s/%s" . (regexReplaceAll "^([^/]*[.:][^/]*|localhost)/" $image.repository "") -}}
{{- end -}}
{{- if $image.digest -}}{{ $repository }}@{{ $image.digest }}{{- else -}}{{ $repository }}:{{ $image.tag | default .Chart.AppVersion }}{{- end -}}
{{- end -}}

{{/* Environment variables, with their values as text whatever they look like. */}}
{{- define "hcw.env" -}}
{{- range . }}
- {{ if hasKey . "value" }}{{ merge (dict "value" (toString .value)) . | toJson }}{{ else }}{{ toJson . }}{{ end }}
{{- end }}
{{- end -}}

{{/* A duration such as `1m30s`, in seconds. */}}
{{- define "hcw.seconds" -}}
{{- $units := dict "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0 "d" 86400.0 -}}
{{- $seconds := 0.0 -}}
{{- range regexFindAll "[0-9.]+[a-z]+" . -1 -}}
{{- $seconds = addf $seconds (mulf (regexFind "[0-9.]+" . | float64) (get $units (regexFind "[a-z]+" .))) -}}
{{- end -}}
{{- $seconds -}}
{{- end -}}

{{/* What would install, and then keep the Pods from starting. */}}
{{- define "hcw.refuse" -}}
{{- $probe := .Values.config.probe | default dict -}}
{{- $interval := include "hcw.seconds" ($probe.interval | default "5s") | float64 -}}
{{- $timeout := include "hcw.seconds" ($probe.timeout | default "2s") | float64 -}}
{{- if le (include "hcw.seconds" ($probe.maxAge | default "30s") | float64) (addf $interval $timeout) -}}
{{- fail "\n\nconfig.probe.maxAge must be longer than interval and timeout together, or all knowledge of Harbor is stale.\n" -}}
{{- end -}}
{{- if eq (int .Values.webhook.port) (include "hcw.opsPort" . | int) -}}
{{- fail (printf "\n\nwebhook.port and webhook.opsPort are both %d: one process can't listen there twice.\n" (int .Values.webhook.port)) -}}
{{- end -}}
{{- if and .Values.webhook.hostNetwork (eq (int .Values.webhook.port) 10250) -}}
{{- fail "\n\nwebhook.port is 10250, which is the kubelet's on the node's network; with webhook.hostNetwork set another, such as\n  --set webhook.port=10260\n" -}}
{{- end -}}
{{- if and (include "hcw.controllerManagesTls" .) .Values.controller.enabled -}}
{{- $serving := include "hcw.seconds" .Values.tls.certificateLifetime | float64 -}}
{{- if lt (include "hcw.seconds" .Values.tls.caLifetime | float64) (mulf $serving 3.0) -}}
{{- fail "\n\ntls.caLifetime must be at least three times tls.certificateLifetime.\n" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Namespaces that are left alone whatever their labels say, as a JSON list. */}}
{{- define "hcw.excludedNamespaces" -}}
{{- concat (list "kube-system" "kube-node-lease" .Release.Namespace) .Values.excludeNamespaces | uniq | toJson -}}
{{- end -}}

{{/* The config file: the values' section `config`, and what other values add to it. */}}
{{- define "hcw.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if not $config.harbor.url -}}
{{- fail "\n\nconfig.harbor.url is missing: what images are rewritten to, such as\n  --set config.harbor.url=https://harbor-cache.example.com\n" -}}
{{- end -}}
{{- if .Values.harborCA -}}
{{- $_ := set $config.harbor "caFile" "/etc/harbor-cache/config/harbor-ca.crt" -}}
{{- end -}}
{{- if .Values.harborCredentialsSecret -}}
{{- $_ := set $config.harbor "usernameFile" "/etc/harbor-cache/credentials/username" -}}
{{- $_ := set $config.harbor "passwordFile" "/etc/harbor-cache/credentials/password" -}}
{{- end -}}
{{- toYaml (merge (dict "apiVersion" "harbor-cache.io/v1" "kind" "Config") $config) -}}
{{- end -}}

{{- define "hcw.podSecurityContext" -}}
runAsNonRoot: true
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "hcw.containerSecurityContext" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
readOnlyRootFilesystem: true
{{- end -}}

{{/* What both Pods mount. */}}
{{- define "hcw.volumes" -}}
- name: config
  configMap: {name: {{ include "hcw.fullname" . }}}
{{- with .Values.harborCredentialsSecret }}
- name: credentials
  secret: {secretName: {{ . }}}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "hcw.volumeMounts" -}}
- {name: config, mountPath: /etc/harbor-cache/config, readOnly: true}
{{- if .Values.harborCredentialsSecret }}
- {name: credentials, mountPath: /etc/harbor-cache/credentials, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Names that both Pods know beside DNS, such as Harbor's. */}}
{{- define "hcw.hostAliases" -}}
{{- with .Values.hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Where Pods run; called with (dict "root" $ "component" "webhook" "values" .Values.webhook). */}}
{{- define "hcw.scheduling" -}}
topologySpreadConstraints:
  {{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "hcw.selectorLabels" (dict "root" $.root "component" $.component) | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
