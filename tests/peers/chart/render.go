// Values to text: the chart through Helm's own engine, as `helm template` does it.
package chart

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
)

// Text of all objects in the order of their files, which NOTES.txt and what is empty are not among.
func renderText(chartFolder string, values map[string]any, kubernetes string) (string, error) {
	chart, err := loader.Load(chartFolder)
	if err != nil {
		return "", err
	}
	version, err := common.ParseKubeVersion(kubernetes)
	if err != nil {
		return "", err
	}
	capabilities := common.DefaultCapabilities.Copy()
	capabilities.KubeVersion = *version
	release := common.ReleaseOptions{Name: "flamekeeper", Namespace: "flamekeeper", Revision: 1, IsInstall: true}
	all, err := util.ToRenderValues(chart, values, release, capabilities)
	if err != nil {
		return "", err
	}
	files, err := engine.Render(chart, all)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		body := strings.TrimSpace(files[name])
		if path.Ext(name) == ".yaml" && body != "" {
			fmt.Fprintf(&text, "---\n# %s\n%s\n", path.Base(name), body)
		}
	}
	return text.String(), nil
}
