// Text to objects of the API, each field known to its type.
package chart

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

type object struct {
	kind  string
	value any
	text  string
}

type objects []object

func tryRender(values map[string]any, kubernetes string) (string, error) {
	return renderText(chartFolder, values, kubernetes)
}

func render(t *testing.T, values map[string]any, kubernetes string) objects {
	t.Helper()
	text, err := tryRender(values, kubernetes)
	if err != nil {
		t.Fatal(err)
	}
	return decodeAll(t, text)
}

// Of what we make, by version and kind; anything else is a mistake.
func empty(version, kind string) (any, error) {
	switch version + " " + kind {
	case "v1 ConfigMap":
		return &corev1.ConfigMap{}, nil
	case "v1 Namespace":
		return &corev1.Namespace{}, nil
	case "v1 Secret":
		return &corev1.Secret{}, nil
	case "v1 ServiceAccount":
		return &corev1.ServiceAccount{}, nil
	case "apps/v1 DaemonSet":
		return &appsv1.DaemonSet{}, nil
	case "rbac.authorization.k8s.io/v1 ClusterRole":
		return &rbacv1.ClusterRole{}, nil
	case "rbac.authorization.k8s.io/v1 ClusterRoleBinding":
		return &rbacv1.ClusterRoleBinding{}, nil
	case "monitoring.coreos.com/v1 PodMonitor":
		return &monitoringv1.PodMonitor{}, nil
	}
	return nil, fmt.Errorf("unknown: %s %s", version, kind)
}

func decodeAll(t *testing.T, text string) objects {
	t.Helper()
	var all objects
	for _, part := range strings.Split("\n"+text, "\n---\n") {
		var head metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(part), &head); err != nil {
			t.Fatalf("%v in\n%s", err, part)
		}
		if head.Kind == "" {
			continue
		}
		value, err := empty(head.APIVersion, head.Kind)
		if err == nil {
			err = yaml.UnmarshalStrict([]byte(part), value)
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, part)
		}
		all = append(all, object{kind: head.Kind, value: value, text: part})
	}
	return all
}

func (all objects) kinds() []string {
	var kinds []string
	for _, object := range all {
		kinds = append(kinds, object.kind)
	}
	return kinds
}

// The only object of a type.
func only[T any](t *testing.T, all objects) T {
	t.Helper()
	var found []T
	for _, object := range all {
		if value, ok := object.value.(T); ok {
			found = append(found, value)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d of %T among %v", len(found), *new(T), all.kinds())
	}
	return found[0]
}

func (all objects) daemonSet(t *testing.T) *appsv1.DaemonSet { return only[*appsv1.DaemonSet](t, all) }
func (all objects) configMap(t *testing.T) *corev1.ConfigMap { return only[*corev1.ConfigMap](t, all) }
func (all objects) secret(t *testing.T) *corev1.Secret       { return only[*corev1.Secret](t, all) }
func (all objects) clusterRole(t *testing.T) *rbacv1.ClusterRole {
	return only[*rbacv1.ClusterRole](t, all)
}

// A value inside tables and lists.
func at(value any, path []string) any {
	for _, part := range path {
		switch inside := value.(type) {
		case map[string]any:
			value = inside[part]
		case []map[string]any:
			index, err := strconv.Atoi(part)
			if err != nil || index >= len(inside) {
				return nil
			}
			value = inside[index]
		case []any:
			index, err := strconv.Atoi(part)
			if err != nil || index >= len(inside) {
				return nil
			}
			value = inside[index]
		default:
			return nil
		}
	}
	return value
}

// The chart without values, for those who have no Helm, and the namespace that Helm would be told to use.
func plainManifests(t *testing.T) string {
	t.Helper()
	text, err := tryRender(nil, "v1.36.1")
	if err != nil {
		t.Fatal(err)
	}
	const head = `# The chart's default values, rendered: change the ConfigMap, then kubectl apply -f flamekeeper.yaml.
# For Kubernetes 1.30 or newer. Written by go test -run Manifests -update in tests/peers/chart; do not edit.
---
apiVersion: v1
kind: Namespace
metadata:
  name: flamekeeper
  labels:
    # hostPID, hostPath and capabilities are refused at any other level.
    pod-security.kubernetes.io/enforce: privileged
`
	return head + text
}
