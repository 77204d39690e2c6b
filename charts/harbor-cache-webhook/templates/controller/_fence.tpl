{{/* The rules that the fence lets the controller rescue by, as JSON: {"rules": [{"host", "project",
"aliases"}, …]}, docker.io under one name only.  As `Config` reads them, the default ones included. */}}
{{- define "hcw.rules" -}}
{{- $hub := dict "host" "docker.io" "project" "proxy.docker.io" "aliases" (list "registry-1.docker.io" "registry.hub.docker.com") -}}
{{- $registries := list $hub -}}
{{- range $host := list "gcr.io" "k8s.gcr.io" "quay.io" -}}
{{- $registries = append $registries (dict "host" $host "project" (printf "proxy.%s" $host)) -}}
{{- end -}}
{{- $rules := list -}}
{{- range .Values.config.registries | default $registries -}}
{{- $host := .host | replace "index.docker.io" "docker.io" -}}
{{- $aliases := without (.aliases | default list) "index.docker.io" "docker.io" | uniq | sortAlpha -}}
{{- $rules = append $rules (dict "host" $host "project" .project "aliases" $aliases) -}}
{{- end -}}
{{- dict "rules" $rules | toJson -}}
{{- end -}}

{{- define "hcw.harborHost" -}}{{ (urlParse .Values.config.harbor.url).host }}{{- end -}}

{{/* The fingerprint of those rules: `Rules.fingerprint` computes the same. */}}
{{- define "hcw.fingerprint" -}}
{{- $lines := list -}}
{{- range (include "hcw.rules" . | fromJson).rules -}}
{{- $lines = append $lines (concat (list .host .project) .aliases | join " ") -}}
{{- end -}}
{{- concat (list (include "hcw.harborHost" .)) (sortAlpha $lines) | join "\n" | sha256sum -}}
{{- end -}}

{{/* Whether the controller may move Pods to Harbor at all. */}}
{{- define "hcw.mayRescue" -}}
{{- $recovery := .Values.config.recovery | default dict -}}
{{- if and (ne (toString $recovery.enabled) "false") (ne (toString $recovery.rescue) "false") }}true{{ end -}}
{{- end -}}

{{/* CEL: the maps `new` and `old` hold the same, but for the keys that `but` (CEL, with `k`) names. */}}
{{- define "hcw.sameBut" -}}
({{ .new }}.all(k, ({{ .but }}) || (k in {{ .old }} && {{ .new }}[k] == {{ .old }}[k])) && {{ .old }}.all(k, ({{ .but }}) || k in {{ .new }}))
{{- end -}}

{{/* CEL: who owns which field (fieldsV1, a tree) in `new` is as in `old`, but for what a move takes:
images, records, the label.  Variables: t, s, c and k for the keys of its four levels. */}}
{{- define "hcw.ownedAlike" -}}
{{- $metadata := dict "new" (printf "%s[?t].orValue({})" .new) "old" (printf "%s[t]" .old) -}}
{{- $part := dict "new" (printf "%s[?s].orValue({})" $metadata.new) "old" (printf "%s[s]" $metadata.old) -}}
{{- $container := dict "new" (printf "%s[?c].orValue({})" $part.new) "old" (printf "%s[c]" $part.old) -}}
{{ .new }}.all(t, t in {{ .old }}) && {{ .old }}.all(t, !(t in ['f:metadata', 'f:spec']) ? {{ .new }}[?t] == optional.of({{ .old }}[t]) :
{{ $metadata.new }}.all(s, s in {{ $metadata.old }}) && {{ $metadata.old }}.all(s,
t == 'f:metadata' && s == 'f:annotations' ? {{ include "hcw.sameOrGone" (merge (dict "gone" "variables.recordKeys") $part) }} :
t == 'f:metadata' && s == 'f:labels' ? {{ include "hcw.sameOrGone" (merge (dict "gone" "['f:harbor-cache.io/rewritten', '.']") $part) }} :
t == 'f:spec' && s in ['f:containers', 'f:initContainers'] ?
{{ $part.new }}.all(c, c in {{ $part.old }}) && {{ $part.old }}.all(c, c in variables.movedKeys ?
{{ include "hcw.sameOrGone" (merge (dict "gone" "['f:image', '.']") $container) }} :
{{ $part.new }}[?c] == optional.of({{ $part.old }}[c])) :
{{ $metadata.new }}[?s] == optional.of({{ $metadata.old }}[s])))
{{- end -}}

{{/* CEL: the map `new` is the map `old`, but for absent keys that the list `gone` names. */}}
{{- define "hcw.sameOrGone" -}}
({{ .new }}.all(k, k in {{ .old }} && {{ .new }}[k] == {{ .old }}[k]) && {{ .old }}.all(k, k in {{ .new }} || k in {{ .gone }}))
{{- end -}}
