// The chart as Helm renders it and as Kubernetes takes it: each object is decoded by the API's own types, unknown
// fields refused. What is rendered here for the plain manifests is what is committed.
package chart

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	corev1 "k8s.io/api/core/v1"
)

const chartFolder = "../../../deploy/kubernetes/chart"

var update = flag.Bool("update", false, "write the plain manifests instead of comparing them")

// The capabilities of the product's documentation.
var six = []corev1.Capability{"BPF", "PERFMON", "SYS_PTRACE", "DAC_READ_SEARCH", "SYSLOG", "CHECKPOINT_RESTORE"}

// Files of values: the defaults, and one for each branch of the templates.
func valueFiles(t *testing.T) map[string]map[string]any {
	t.Helper()
	files, err := filepath.Glob("testdata/values/*.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("files of values: %v, %v", files, err)
	}
	all := map[string]map[string]any{"defaults": {}}
	for _, file := range files {
		all[strings.TrimSuffix(filepath.Base(file), ".yaml")] = readValues(t, file)
	}
	return all
}

// As Helm reads them: an integer stays one.
func readValues(t *testing.T, file string) map[string]any {
	t.Helper()
	text, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer text.Close()
	values, err := loader.LoadValues(text)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return values
}

func TestHelmFindsNothingToSay(t *testing.T) {
	for name, values := range valueFiles(t) {
		for _, message := range lint.RunAll(chartFolder, values, "profiling").Messages {
			isIcon := strings.Contains(message.Err.Error(), "icon is recommended")
			if message.Severity >= support.InfoSev && !isIcon {
				t.Errorf("%s: %v", name, message)
			}
		}
	}
}

// Each pair of values and Kubernetes gives objects that are what they say.
func TestEveryObjectIsOneOfKubernetes(t *testing.T) {
	for name, values := range valueFiles(t) {
		for _, version := range []string{"v1.23.0", "v1.29.9", "v1.30.0", "v1.36.1"} {
			objects := render(t, values, version)
			kinds := objects.kinds()
			for _, kind := range []string{"DaemonSet", "ConfigMap"} {
				if !slices.Contains(kinds, kind) {
					t.Errorf("%s on %s: no %s among %v", name, version, kind, kinds)
				}
			}
		}
	}
}

func TestTheDefaultsGrantSixCapabilitiesAndNothingElse(t *testing.T) {
	pod := render(t, nil, "v1.36.1").daemonSet(t).Spec.Template.Spec
	context := pod.Containers[0].SecurityContext
	if !slices.Equal(context.Capabilities.Add, six) || !slices.Equal(context.Capabilities.Drop, []corev1.Capability{"ALL"}) {
		t.Errorf("capabilities: %+v", context.Capabilities)
	}
	if *context.Privileged || *context.AllowPrivilegeEscalation || !*context.ReadOnlyRootFilesystem {
		t.Errorf("security context: %+v", context)
	}
	if context.AppArmorProfile.Type != corev1.AppArmorProfileTypeUnconfined {
		t.Errorf("AppArmor: %+v", context.AppArmorProfile)
	}
	if pod.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("seccomp: %+v", pod.SecurityContext.SeccompProfile)
	}
	if !pod.HostPID || pod.HostNetwork || pod.HostIPC || *pod.EnableServiceLinks {
		t.Errorf("namespaces: %+v", pod)
	}
	if len(pod.Containers) != 1 || len(pod.InitContainers) != 0 {
		t.Errorf("containers: %+v", pod.Containers)
	}
}

// A field that says what Kubernetes refuses is found by no decoder: these are its own rules of validation.
func TestCombinationsThatKubernetesRefusesAreNotMade(t *testing.T) {
	for name, values := range valueFiles(t) {
		container := render(t, values, "v1.36.1").daemonSet(t).Spec.Template.Spec.Containers[0]
		context := container.SecurityContext
		grantsAll := *context.Privileged
		if context.Capabilities != nil {
			grantsAll = grantsAll || slices.Contains(context.Capabilities.Add, "SYS_ADMIN")
		}
		if grantsAll && context.AllowPrivilegeEscalation != nil && !*context.AllowPrivilegeEscalation {
			t.Errorf("%s: escalation is forbidden beside %+v", name, context)
		}
		names := map[string]bool{}
		for _, volume := range render(t, values, "v1.36.1").daemonSet(t).Spec.Template.Spec.Volumes {
			if names[volume.Name] {
				t.Errorf("%s: two volumes called %s", name, volume.Name)
			}
			names[volume.Name] = true
		}
		for _, mount := range container.VolumeMounts {
			if !names[mount.Name] {
				t.Errorf("%s: no volume %s", name, mount.Name)
			}
		}
	}
}

// Of what belongs to the node, only the spool and the cache can be written.
func TestFoldersOfTheNodeAreReadOnlyButForItsOwn(t *testing.T) {
	for name, values := range valueFiles(t) {
		pod := render(t, values, "v1.36.1").daemonSet(t).Spec.Template.Spec
		for _, mount := range pod.Containers[0].VolumeMounts {
			own := mount.Name == "spool" || mount.Name == "cache"
			if mount.ReadOnly == own {
				t.Errorf("%s: %s read-only is %v", name, mount.Name, mount.ReadOnly)
			}
		}
	}
}

// The runtimes' sockets lie beside their state, and whoever can open one owns the node.
func TestNoFolderWithASocketIsMounted(t *testing.T) {
	closed := []string{"/run/containerd", "/run/k3s/containerd", "/run/crio", "/var/run", "/run", "/", "/var/lib/kubelet"}
	for name, values := range valueFiles(t) {
		for _, volume := range render(t, values, "v1.36.1").daemonSet(t).Spec.Template.Spec.Volumes {
			if volume.HostPath != nil && slices.Contains(closed, volume.HostPath.Path) {
				t.Errorf("%s mounts %s", name, volume.HostPath.Path)
			}
		}
	}
}

func TestBefore130AppArmorIsAnAnnotation(t *testing.T) {
	template := render(t, nil, "v1.29.9").daemonSet(t).Spec.Template
	if template.Spec.Containers[0].SecurityContext.AppArmorProfile != nil {
		t.Error("a field that 1.29 does not have")
	}
	if template.Annotations["container.apparmor.security.beta.kubernetes.io/flamekeeper"] != "unconfined" {
		t.Errorf("annotations: %v", template.Annotations)
	}
}

func TestItMayReadPodsAndNothingElse(t *testing.T) {
	role := render(t, nil, "v1.36.1").clusterRole(t)
	if len(role.Rules) != 1 || !slices.Equal(role.Rules[0].Resources, []string{"pods"}) ||
		!slices.Equal(role.Rules[0].Verbs, []string{"list", "watch"}) {
		t.Errorf("rules: %+v", role.Rules)
	}
	if kinds := render(t, valueFiles(t)["alone"], "v1.36.1").kinds(); slices.Contains(kinds, "ClusterRole") {
		t.Errorf("rights at the API server that is not asked: %v", kinds)
	}
}

func TestSecretsAreInNoConfigMapAndNoPod(t *testing.T) {
	objects := render(t, valueFiles(t)["secrets"], "v1.36.1")
	secret := objects.secret(t)
	want := map[string]string{"password": "p: \"1\" # x", "http-token": "0123456789abcdef"}
	for key, value := range want {
		if secret.StringData[key] != value {
			t.Errorf("%s is %q", key, secret.StringData[key])
		}
	}
	for _, object := range objects {
		if object.kind != "Secret" && (strings.Contains(object.text, "0123456789abcdef") || strings.Contains(object.text, "# x")) {
			t.Errorf("a secret in the %s:\n%s", object.kind, object.text)
		}
	}
}

func TestTheConfigurationIsWhatTheValuesSay(t *testing.T) {
	want := map[string]map[string]any{
		"defaults":   {"push.0.url": "http://pyroscope.pyroscope.svc:4040", "http.listen.0": "0.0.0.0:4041", "kubernetes.enabled": "on"},
		"everything": {"push.0.tenant": "demo", "push.0.bearer_token_file": "/etc/flamekeeper-secrets/pyroscope/token", "push.0.tls.ca_file": "/etc/flamekeeper-secrets/pyroscope/ca.crt", "push.0.headers.X-Site": "north", "sampling.rate": int64(49), "budget.cpu_percent": 0.5, "spool.max_bytes": int64(2147483648), "labels.relabel_configs.0.action": "drop", "containers.containerd_dirs.0": "/run/k3s/containerd", "containers.docker_dirs.0": "/var/lib/docker", "http.listen.0": "0.0.0.0:14041"},
		"secrets":    {"push.0.basic_auth.username": "1234", "push.0.basic_auth.password_file": "/etc/flamekeeper-secrets/pyroscope/password", "http.token_file": "/etc/flamekeeper-secrets/http/http-token"},
		"alone":      {"push.0.tenant": "a", "push.1.name": "second", "kubernetes.enabled": "off"},
	}
	for name, values := range valueFiles(t) {
		text := render(t, values, "v1.36.1").configMap(t).Data["config.toml"]
		var config map[string]any
		if _, err := toml.Decode(text, &config); err != nil {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
		for key, value := range want[name] {
			if found := at(config, strings.Split(key, ".")); found != value {
				t.Errorf("%s: %s is %v (%T), not %v", name, key, found, found, value)
			}
		}
	}
}

// For those who ask more of the result than this program can: FLAMEKEEPER_CHART_OUT names a folder to leave it in, each
// configuration as the daemon reads it, each DaemonSet as JSON.
func TestTheResultIsLeftForOthers(t *testing.T) {
	folder := os.Getenv("FLAMEKEEPER_CHART_OUT")
	if folder == "" {
		t.Skip("nobody asks for it")
	}
	for name, values := range valueFiles(t) {
		objects := render(t, values, "v1.36.1")
		daemonSet, err := json.Marshal(objects.daemonSet(t))
		if err != nil {
			t.Fatal(err)
		}
		files := map[string][]byte{name + ".toml": []byte(objects.configMap(t).Data["config.toml"]), name + ".json": daemonSet}
		for file, text := range files {
			if err := os.WriteFile(filepath.Join(folder, file), text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestValuesThatCannotBeMeantAreRefused(t *testing.T) {
	refused := []string{
		"pyroscop: {url: x}",
		"pyroscope: {url: 'ftp://x'}",
		"pyroscope: {url: ''}",
		"pyroscope: {bearerToken: a, basicAuth: {username: b}}",
		"pyroscope: {basicAuth: {password: b}}",
		"pyroscope: {secretKeys: {ca: true}}",
		"pyroscope: {existingSecret: s, bearerToken: a}",
		"seccompProfile: {type: Localhost}",
		"seccompProfile: {type: RuntimeDefault, localhostProfile: x.json}",
		"http: {port: 0}",
		"http: {port: '4041'}",
		"spool: {hostPath: relative}",
		"image: {repository: ''}",
		"capabilities: {netAdmin: true}",
	}
	for _, text := range refused {
		values, err := loader.LoadValues(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tryRender(values, "v1.36.1"); err == nil {
			t.Errorf("%s passed", text)
		}
	}
}

func TestThePlainManifestsAreCurrent(t *testing.T) {
	const file = "../../../deploy/kubernetes/manifests/flamekeeper.yaml"
	want := plainManifests(t)
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != want {
		t.Errorf("%s is not what the chart renders: go test -run Manifests -update", file)
	}
	for _, object := range decodeAll(t, string(have)) {
		if object.kind == "" {
			t.Errorf("no kind:\n%s", object.text)
		}
	}
}
