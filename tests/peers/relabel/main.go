// Asks Prometheus' own relabelling what it makes of many rules and labels, and writes questions and answers as JSON lines.
//
//	go run . > ../../../profiler-user/src/attribute/relabel/prometheus.jsonl
//
// A unit test of the same folder puts the questions to our relabelling. The seed is fixed: the same version of
// Prometheus gives the same file.
package main

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"os"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"go.yaml.in/yaml/v3"
)

// A rule as in the configuration; a key that is not there is not set.
type rule map[string]any

type question struct {
	Rules  []rule            `json:"rules"`
	Labels map[string]string `json:"labels"`
	Answer answer            `json:"answer"`
}

// The labels; or neither labels nor refusal if they were dropped.
type answer struct {
	Labels  map[string]string `json:"labels,omitempty"`
	Dropped bool              `json:"dropped,omitempty"`
	Refused string            `json:"refused,omitempty"`
}

func ask(rules []rule, input map[string]string) answer {
	configs, err := compile(rules)
	if err != nil {
		return answer{Refused: err.Error()}
	}
	builder := labels.NewBuilder(labels.FromMap(input))
	if !relabel.ProcessBuilder(builder, configs...) {
		return answer{Dropped: true}
	}
	return answer{Labels: builder.Labels().Map()}
}

func compile(rules []rule) ([]*relabel.Config, error) {
	text, err := json.Marshal(rules)
	if err != nil {
		return nil, err
	}
	var configs []*relabel.Config
	if err := yaml.Unmarshal(text, &configs); err != nil {
		return nil, err
	}
	for _, config := range configs {
		if err := config.Validate(model.UTF8Validation); err != nil {
			return nil, err
		}
	}
	return configs, nil
}

func main() {
	lines := json.NewEncoder(os.Stdout)
	lines.SetEscapeHTML(false)
	put := func(rules []rule, input map[string]string) {
		if err := lines.Encode(question{rules, input, ask(rules, input)}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	eachPattern(put)
	eachTemplate(put)
	eachCase(put)
	random := rand.New(rand.NewSource(5))
	for range 200 {
		put([]rule{anyKeys(random)}, anyLabels(random))
	}
	for range 200 {
		put(anyRules(random), anyLabels(random))
	}
}

// What a pattern matches, and with which groups. labelmap tells it of many texts at once: they are the names.
func eachPattern(put func([]rule, map[string]string)) {
	input := map[string]string{}
	for _, value := range values {
		if value != "" {
			input[value] = "1"
		}
	}
	for _, pattern := range patterns {
		put([]rule{{"action": "labelmap", "regex": pattern, "replacement": "<$0|$1|$2|$n>"}}, input)
	}
	for _, pattern := range []string{"", ".*", "(|a)", "^$", "a*(b)?", "x?y"} {
		put([]rule{{"source_labels": []string{"a"}, "regex": pattern, "target_label": "t", "replacement": "<$0|$1>"}}, nil)
	}
}

func eachTemplate(put func([]rule, map[string]string)) {
	for _, template := range templates {
		input := map[string]string{"a": "some-name-7", "b": "x"}
		pattern := `some-(?P<n>[a-z]+)-(\d)(x)?`
		put([]rule{{"source_labels": []string{"a"}, "regex": pattern, "target_label": "t", "replacement": template}}, input)
		put([]rule{{"source_labels": []string{"a"}, "regex": pattern, "target_label": template, "replacement": "v"}}, input)
		put([]rule{{"action": "labelmap", "regex": "(?P<n>[a-z])", "replacement": template}}, input)
	}
}

func eachCase(put func([]rule, map[string]string)) {
	for _, value := range values {
		put([]rule{
			{"action": "uppercase", "source_labels": []string{"a"}, "target_label": "u"},
			{"action": "lowercase", "source_labels": []string{"a"}, "target_label": "l"},
			{"action": "hashmod", "source_labels": []string{"a", "u"}, "target_label": "h", "modulus": 9007199254740991},
		}, map[string]string{"a": value})
	}
}

// One rule with any keys, most of which make no sense together.
func anyKeys(random *rand.Rand) rule {
	made := rule{"action": pick(random, actions)}
	keys := map[string][]any{
		"source_labels": {[]string{"a"}, []string{"a", "b"}, []string{"a", ""}},
		"separator":     {";", "", "-"},
		"regex":         {"(.*)", "", "f(.*)", "a|b", "("},
		"modulus":       {0, 1, 7},
		"target_label":  {"", "a", "t", "t.${1}", "0", "$"},
		"replacement":   {"$1", "", "x", "x$1"},
	}
	for _, key := range []string{"source_labels", "separator", "regex", "modulus", "target_label", "replacement"} {
		if random.Intn(2) == 0 {
			made[key] = pick(random, keys[key])
		}
	}
	return made
}

// One to five rules that make sense.
func anyRules(random *rand.Rand) []rule {
	var rules []rule
	for range 1 + random.Intn(5) {
		source := []string{pick(random, names), pick(random, names)}[:1+random.Intn(2)]
		target := pick(random, names)
		pattern := pick(random, []string{"(.*)", "f.*", "(.+);(.+)", "(b|f)(.*)", "[a-c]+", "bar", ""})
		replacement := pick(random, []string{"$1", "$2$1", "x", ""})
		rules = append(rules, pick(random, []rule{
			{"source_labels": source, "regex": pattern, "target_label": target, "replacement": replacement},
			{"source_labels": source, "target_label": target, "separator": pick(random, []string{"", "/", ";"})},
			{"action": "Keep", "source_labels": source, "regex": pick(random, []string{".*", ".*a.*", "(f|b).*"})},
			{"action": "DROP", "source_labels": source, "regex": pattern},
			{"action": "dropequal", "source_labels": source, "target_label": target},
			{"action": "hashmod", "source_labels": source, "target_label": target, "modulus": 1 + random.Intn(1000)},
			{"action": "labelmap", "regex": "(" + pick(random, names) + ")", "replacement": pick(random, []string{"${1}x", "y_$1", "c"})},
			{"action": "labeldrop", "regex": pick(random, names)},
			{"action": "labelkeep", "regex": "[a-d].*"},
			{"action": "uppercase", "source_labels": source, "target_label": target},
		}))
	}
	return rules
}

func anyLabels(random *rand.Rand) map[string]string {
	made := map[string]string{}
	for _, name := range names {
		if random.Intn(3) > 0 {
			made[name] = pick(random, []string{"foo", "bar", "baz", "f", "bar;foo", "é"})
		}
	}
	return made
}

func pick[T any](random *rand.Rand, from []T) T {
	return from[random.Intn(len(from))]
}

var names = []string{"a", "b", "c", "d", "__meta_e"}

var actions = []string{
	"replace", "keep", "drop", "keepequal", "dropequal", "hashmod", "labelmap", "labeldrop", "labelkeep", "lowercase",
	"uppercase", "Replace", "", "none",
}

var values = []string{
	"", "a", "foo", "a\nb", "7", "12", "café", "٣", "K", "ſ", "a b", "a\u00a0b", "a\vb", "<none>", "[a]", "a.b", "a&b", "~", "-", "^",
	"]", "\\", "{a}", "aaa", "x-y", "kube-system", "a;b", "Straße", "ΑΣ", "日本", "#", "a#b",
}

var patterns = []string{
	``, `.*`, `(.*)`, `(.+)`, `.`, `..`, `(?-s:a.b)`, `a|b`, `(a|b)+`, `(?:a|b)(.*)`, `^a$`, `(?P<n>a)(.*)`, `(?<n>a)(.*)`, `(?i)A(.*)`, `(?i:foo)`,
	`\d`, `\d+`, `\D`, `\w+`, `\W`, `(?i)\w`, `(?i)k`, `(?i)S`, `\s`, `a\sb`, `a\Sb`, `[\d]+`, `[\D]`, `[^\d]+`, `[^\D]`, `[\w.]+`, `[\s\S]+`,
	`\bfoo\b`, `caf\b.`, `.*\b`, `\<none\>`, `\Qa.b\E`, `\Q[a]`, `a\.b`, `\.`, `\-`, `\_`, `\/`, `{a}`, `a{3}`, `a{2,}`, `a{1,3}`, `a{,3}`, `{`,
	`[a]`, `[[]a]`, `[[a]+`, `[]a]+`, `[^]]`, `[]-a]`, `[a&&b]`, `[a&]+.*`, `[a~~b]`, `[+--]`, `[--a]`, `[a-]+`, `[-a]+`, `[a\-z]+`, `[a\]]+`,
	`[\[a\]]+`, `[^^]`, `[\^]`, `[\\]`, `[[:alpha:]]+`, `[[:^alpha:]]+`, `[[:word:]]+`, `[[:digit:]a]`, `[[:nope:]]`, `[:alpha:]`, `[[:a]+`,
	`\pL+`, `\p{L}+`, `\p{Greek}+`, `\PL`, `\P{L}`, `[\pL ]+`, `[^\pL]`, `\x61`, `\x{e9}`, `caf\x{e9}`, `[\x61-\x63]+`, `[é-ü]`, `caf[é-ü]`,
	`a*?(.*)`, `(a*)(a*)`, `(a+?)(a*)`, `(?U)(a+)(a*)`, `(a*)+`, `(a|aa)(a*)`, `(?m)^b$`, `a(?m:$)\nb`, `a\nb`, `\Aa\z`, `\z`, `a$`, `$`, `^`, `()`, `(|a)`,
	`(`, `)`, `[`, `[a`, `*`, `+a`, `\`, `[b-a]`, `\8`, `(?=a)`, `(a)\1`, `x*`, `#`, `a#b`, `a # b`, `(?i)straSSe`, `(?i)ας`,
	`.{2}`, `.{3}`, `[^a]{2}`, `\w-\w`, `(\w+)-(\w+)`, `([^;]+);(.*)`,
}

var templates = []string{
	"", "x", "$1", "${1}", "$0", "$2", "$3", "$4", "$99", "$n", "${n}", "$nx", "${n}x", "$1x", "${1}x", "$1-$2", "$$", "$$1", "$$$1", "$", "a$", "$-",
	"${", "${}", "${n", "${n-}", "$01", "$00", "${01}", "$é", "${é}", "$1é", "a.b", "$999999999999", "x$1y$n", "$_", "$1_", "日本$1", "$ 1",
}
