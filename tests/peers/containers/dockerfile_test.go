// deploy/Dockerfile as BuildKit reads it, its own warnings included.
package containers

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

func TestTheImageIsTheBinaryAlone(t *testing.T) {
	file, err := os.Open(filepath.Join(deploy, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	parsed, err := parser.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, warning := range parsed.Warnings {
		t.Errorf("%+v", warning)
	}
	lint := linter.New(&linter.Config{Warn: func(rule, description, _, message string, _ []parser.Range) {
		t.Errorf("%s: %s: %s", rule, description, message)
	}})
	stages, _, err := instructions.Parse(parsed.AST, lint)
	if err != nil {
		t.Fatal(err)
	}
	if len(stages) != 1 || stages[0].BaseName != "scratch" {
		t.Fatalf("%+v", stages)
	}
	var copied, entry []string
	for _, command := range stages[0].Commands {
		switch command := command.(type) {
		case *instructions.CopyCommand:
			copied = append(copied, command.SourcePaths...)
		case *instructions.RunCommand:
			t.Error("runs something, where there is nothing to run it with")
		case *instructions.EntrypointCommand:
			entry = command.CmdLine
		}
	}
	if !slices.Equal(copied, []string{"flamekeeper"}) || !slices.Equal(entry, []string{"/flamekeeper"}) {
		t.Errorf("copies %v, starts %v", copied, entry)
	}
}
