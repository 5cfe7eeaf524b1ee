{{- define "flamekeeper.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "flamekeeper.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "flamekeeper.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "flamekeeper.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "flamekeeper.selectorLabels" -}}
app.kubernetes.io/name: {{ include "flamekeeper.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "flamekeeper.labels" -}}
{{ include "flamekeeper.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}

{{- define "flamekeeper.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "flamekeeper.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "flamekeeper.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* The keys of the chart's own Secret: what the values hold in plain. */}}
{{- define "flamekeeper.secretData" -}}
{{- $data := dict -}}
{{- if not .Values.pyroscope.existingSecret -}}
{{- with .Values.pyroscope.basicAuth.password }}{{ $_ := set $data "password" . }}{{ end -}}
{{- with .Values.pyroscope.bearerToken }}{{ $_ := set $data "token" . }}{{ end -}}
{{- end -}}
{{- if not .Values.http.existingSecret -}}
{{- with .Values.http.token }}{{ $_ := set $data "http-token" . }}{{ end -}}
{{- end -}}
{{- $data | toJson -}}
{{- end -}}

{{/* The endpoint that the values describe, as the daemon's `[[push]]`. */}}
{{- define "flamekeeper.endpoint" -}}
{{- $p := .Values.pyroscope -}}
{{- $secrets := "/etc/flamekeeper-secrets/pyroscope" -}}
{{- $push := dict "url" $p.url -}}
{{- with $p.tenant }}{{ $_ := set $push "tenant" . }}{{ end -}}
{{- with $p.headers }}{{ $_ := set $push "headers" . }}{{ end -}}
{{- if $p.basicAuth.username -}}
{{- $_ := set $push "basic_auth" (dict "username" $p.basicAuth.username "password_file" (printf "%s/password" $secrets)) -}}
{{- end -}}
{{- if or $p.bearerToken (and $p.existingSecret $p.secretKeys.token) -}}
{{- $_ := set $push "bearer_token_file" (printf "%s/token" $secrets) -}}
{{- end -}}
{{- $tls := dict -}}
{{- if $p.secretKeys.ca }}{{ $_ := set $tls "ca_file" (printf "%s/ca.crt" $secrets) }}{{ end -}}
{{- if $p.secretKeys.clientCertificate -}}
{{- $_ := set $tls "cert_file" (printf "%s/tls.crt" $secrets) -}}
{{- $_ := set $tls "key_file" (printf "%s/tls.key" $secrets) -}}
{{- end -}}
{{- with $tls }}{{ $_ := set $push "tls" . }}{{ end -}}
{{- $push | toJson -}}
{{- end -}}

{{/* Folders of the runtimes that are mounted, by the names of their volumes: where accounts of containers lie, and no socket. */}}
{{- define "flamekeeper.runtimeFolders" -}}
{{- $folders := dict -}}
{{- with .Values.runtimes.containerd -}}
{{- if .enabled }}{{ $_ := set $folders "containerd" (printf "%s/io.containerd.runtime.v2.task" .state) }}{{ end -}}
{{- end -}}
{{- with .Values.runtimes.crio -}}
{{- if .enabled -}}
{{- $_ := set $folders "crio-run" .run -}}
{{- $_ := set $folders "crio-storage" (printf "%s/overlay-containers" .storage) -}}
{{- end -}}
{{- end -}}
{{- with .Values.runtimes.docker -}}
{{- if .enabled }}{{ $_ := set $folders "docker" (printf "%s/containers" .data) }}{{ end -}}
{{- end -}}
{{- $folders | toJson -}}
{{- end -}}

{{/* Which Secret, if any, has what the endpoint needs. */}}
{{- define "flamekeeper.pyroscopeSecret" -}}
{{- if .Values.pyroscope.existingSecret -}}
{{- .Values.pyroscope.existingSecret -}}
{{- else if or .Values.pyroscope.basicAuth.password .Values.pyroscope.bearerToken -}}
{{- include "flamekeeper.fullname" . -}}
{{- end -}}
{{- end -}}

{{/* Which Secret, if any, has the token that the daemon asks for. */}}
{{- define "flamekeeper.httpSecret" -}}
{{- if .Values.http.existingSecret -}}
{{- .Values.http.existingSecret -}}
{{- else if .Values.http.token -}}
{{- include "flamekeeper.fullname" . -}}
{{- end -}}
{{- end -}}

{{/* Whole numbers in a table, in place: Helm has floating-point numbers only, and TOML would say 19.0. */}}
{{- define "flamekeeper.wholeNumbers" -}}
{{- $table := . -}}
{{- range $key, $value := $table -}}
{{- if kindIs "map" $value }}{{ include "flamekeeper.wholeNumbers" $value }}{{ end -}}
{{- if and (kindIs "float64" $value) (eq (floor $value) $value) }}{{ $_ := set $table $key (int64 $value) }}{{ end -}}
{{- if kindIs "slice" $value -}}
{{- $list := list -}}
{{- range $value -}}
{{- if kindIs "map" . }}{{ include "flamekeeper.wholeNumbers" . }}{{ end -}}
{{- $isWhole := false -}}
{{- if kindIs "float64" . }}{{ $isWhole = eq (floor .) . }}{{ end -}}
{{- if $isWhole }}{{ $list = append $list (int64 .) }}{{ else }}{{ $list = append $list . }}{{ end -}}
{{- end -}}
{{- $_ := set $table $key $list -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The daemon's configuration: what the values amount to, under .Values.config. Folders that are not mounted are not there. */}}
{{- define "flamekeeper.config" -}}
{{- $http := dict "listen" (list (printf "0.0.0.0:%v" .Values.http.port)) -}}
{{- if include "flamekeeper.httpSecret" . }}{{ $_ := set $http "token_file" "/etc/flamekeeper-secrets/http/http-token" }}{{ end -}}
{{- $config := dict "http" $http "kubernetes" (dict "enabled" (ternary "on" "off" .Values.kubernetes.enabled)) -}}
{{- $containers := dict -}}
{{- $runtimes := .Values.runtimes -}}
{{- $folders := dict "home_dirs" list -}}
{{- $_ := set $folders "containerd_dirs" (ternary (list $runtimes.containerd.state) list $runtimes.containerd.enabled) -}}
{{- $_ := set $folders "docker_dirs" (ternary (list $runtimes.docker.data) list $runtimes.docker.enabled) -}}
{{- $_ := set $folders "storage_run_dirs" (ternary (list $runtimes.crio.run) list $runtimes.crio.enabled) -}}
{{- $_ := set $folders "storage_dirs" (ternary (list $runtimes.crio.storage) list $runtimes.crio.enabled) -}}
{{- $_ := set $config "containers" $folders -}}
{{- if .Values.pyroscope.url -}}
{{- $_ := set $config "push" (list (include "flamekeeper.endpoint" . | fromJson)) -}}
{{- end -}}
{{- $merged := mergeOverwrite $config (deepCopy .Values.config) -}}
{{- if not $merged.push }}{{ fail "profiles have nowhere to go: set pyroscope.url, or config.push" }}{{ end -}}
{{- include "flamekeeper.wholeNumbers" $merged -}}
{{- toToml $merged | trim -}}
{{- end -}}
