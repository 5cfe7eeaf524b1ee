// deploy/compose.yaml as Docker's own library understands it, with and without the profile of the cluster, and the files
// that it mounts as their programs would read them.
package containers

import (
	"context"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v3"
)

const deploy = "../../../deploy"

// The capabilities of the product's documentation.
var six = []string{"BPF", "PERFMON", "SYS_PTRACE", "DAC_READ_SEARCH", "SYSLOG", "CHECKPOINT_RESTORE"}

func load(t *testing.T, profiles []string, environment ...string) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{filepath.Join(deploy, "compose.yaml")},
		cli.WithProfiles(profiles), cli.WithEnv(environment), cli.WithInterpolation(true), cli.WithConsistency(true))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

func TestTheDefaultIsThreeServicesAndTheProfileAddsTheCluster(t *testing.T) {
	single := []string{"flamekeeper", "grafana", "pyroscope"}
	cluster := []string{"bucket", "flamekeeper", "gateway", "grafana", "minio", "pyroscope", "pyroscope-1", "pyroscope-2", "pyroscope-3"}
	for _, want := range []struct{ profiles, services []string }{{nil, single}, {[]string{"cluster"}, cluster}} {
		names := load(t, want.profiles).ServiceNames()
		slices.Sort(names)
		if !slices.Equal(names, want.services) {
			t.Errorf("%v: %v", want.profiles, names)
		}
	}
}

func TestEveryImageHasAVersion(t *testing.T) {
	version := regexp.MustCompile(`:(v?\d+\.\d+\.\d+(-alpine)?|RELEASE\.\d{4}-\d{2}-\d{2}T[\d-]+Z)$`)
	for name, service := range load(t, []string{"cluster"}).Services {
		if !version.MatchString(service.Image) {
			t.Errorf("%s: %s", name, service.Image)
		}
	}
}

func TestTheAgentHasSixCapabilitiesAndTheHostsProcesses(t *testing.T) {
	agent := load(t, nil).Services["flamekeeper"]
	if !slices.Equal(agent.CapAdd, six) || !slices.Equal(agent.CapDrop, []string{"ALL"}) || agent.Privileged {
		t.Errorf("capabilities: %v %v", agent.CapAdd, agent.CapDrop)
	}
	if agent.Pid != "host" || agent.Uts != "host" || agent.Cgroup != "host" || agent.NetworkMode == "host" {
		t.Errorf("namespaces: %+v", agent)
	}
	if !agent.ReadOnly || !slices.Contains(agent.SecurityOpt, "no-new-privileges:true") {
		t.Errorf("root %v, options %v", agent.ReadOnly, agent.SecurityOpt)
	}
	for _, volume := range agent.Volumes {
		if volume.Type == types.VolumeTypeBind && !volume.ReadOnly {
			t.Errorf("%s of the host can be written", volume.Source)
		}
	}
	if len(agent.DependsOn) != 0 {
		t.Errorf("waits for %v", agent.DependsOn)
	}
}

// All ports are for this host alone: nothing here asks for a password.
func TestPortsAreOnLoopback(t *testing.T) {
	for name, service := range load(t, []string{"cluster"}).Services {
		for _, port := range service.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s: %+v", name, port)
			}
		}
	}
}

func TestTheClusterIsOneOfThreeWithTenants(t *testing.T) {
	project := load(t, []string{"cluster"}, "PYROSCOPE_URL=http://gateway:4040")
	volumes := map[string]bool{}
	for _, name := range []string{"pyroscope-1", "pyroscope-2", "pyroscope-3"} {
		replica := project.Services[name]
		command := strings.Join(replica.Command, " ")
		for _, flag := range []string{"-auth.multitenancy-enabled=true", "-distributor.replication-factor=3", "-storage.backend=s3",
			"-memberlist.join=pyroscope-1:7946", "-memberlist.join=pyroscope-2:7946", "-memberlist.join=pyroscope-3:7946"} {
			if !strings.Contains(command, flag) {
				t.Errorf("%s has no %s: %s", name, flag, command)
			}
		}
		if replica.DependsOn["bucket"].Condition != types.ServiceConditionCompletedSuccessfully {
			t.Errorf("%s does not wait for its bucket: %+v", name, replica.DependsOn)
		}
		if len(replica.Volumes) != 1 || volumes[replica.Volumes[0].Source] {
			t.Errorf("%s shares %+v", name, replica.Volumes)
		}
		volumes[replica.Volumes[0].Source] = true
	}
	environment := project.Services["flamekeeper"].Environment
	if *environment["FLAMEKEEPER_PUSH_URL"] != "http://gateway:4040" || *environment["FLAMEKEEPER_PUSH_TENANT"] != "demo" {
		t.Errorf("%v", environment)
	}
}

// What is mounted is there, and speaks of services that are there.
func TestGrafanaFindsItsDatabases(t *testing.T) {
	project := load(t, []string{"cluster"})
	text, err := os.ReadFile(mounted(t, project.Services["grafana"]))
	if err != nil {
		t.Fatal(err)
	}
	var provisioned struct {
		APIVersion  int `yaml:"apiVersion"`
		Datasources []struct {
			Name, UID, Type, Access, URL string
			IsDefault                    bool              `yaml:"isDefault"`
			JSONData                     map[string]string `yaml:"jsonData"`
			SecureJSONData               map[string]string `yaml:"secureJsonData"`
		}
	}
	decoder := yaml.NewDecoder(strings.NewReader(string(text)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&provisioned); err != nil {
		t.Fatal(err)
	}
	if len(provisioned.Datasources) != 2 {
		t.Fatalf("%+v", provisioned)
	}
	for _, source := range provisioned.Datasources {
		address, err := url.Parse(source.URL)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := project.Services[address.Hostname()]; !ok || source.Type != "grafana-pyroscope-datasource" {
			t.Errorf("%+v", source)
		}
	}
	tenant := provisioned.Datasources[1]
	if tenant.JSONData["httpHeaderName1"] != "X-Scope-OrgID" || tenant.SecureJSONData["httpHeaderValue1"] != "demo" {
		t.Errorf("%+v", tenant)
	}
}

// nginx itself is asked elsewhere, where there is one; here, that it looks for what the replicas are called.
func TestTheGatewayLooksForTheReplicas(t *testing.T) {
	project := load(t, []string{"cluster"})
	text, err := os.ReadFile(mounted(t, project.Services["gateway"]))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "set $replicas pyroscope-replicas;") {
		t.Errorf("%s", text)
	}
	for _, name := range []string{"pyroscope-1", "pyroscope-2", "pyroscope-3"} {
		if aliases := project.Services[name].Networks["default"].Aliases; !slices.Equal(aliases, []string{"pyroscope-replicas"}) {
			t.Errorf("%s is called %v", name, aliases)
		}
	}
}

// The only file of the checkout that a service mounts.
func mounted(t *testing.T, service types.ServiceConfig) string {
	t.Helper()
	for _, volume := range service.Volumes {
		if volume.Type == types.VolumeTypeBind {
			return volume.Source
		}
	}
	t.Fatalf("%s mounts no file", service.Name)
	return ""
}

// For the daemon itself: its variables, as JSON in the file that FLAMEKEEPER_COMPOSE_OUT names.
func TestTheVariablesAreLeftForTheDaemon(t *testing.T) {
	file := os.Getenv("FLAMEKEEPER_COMPOSE_OUT")
	if file == "" {
		t.Skip("nobody asks for them")
	}
	text, err := json.Marshal(load(t, nil).Services["flamekeeper"].Environment)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
}
