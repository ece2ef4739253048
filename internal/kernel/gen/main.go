// Command gen writes the assembly of package kernel: `go run .` in its folder.
// Each entry of files becomes NAME_amd64.s and NAME_amd64.go; stubs_other.go
// has the same functions for other processors, where nothing calls them.
//
// With -check it writes nothing, and fails when a committed file is not what it
// would write.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/gotypes"
	"github.com/mmcloughlin/avo/pass"
	"github.com/mmcloughlin/avo/printer"
)

// files are what is written, in this order.
var files = []struct {
	name  string
	build func(*asm)
}{
	{"peak", peak},
	{"tile", tiles},
	{"pack", packs},
	{"vector", both(vectors)},
	{"norm", both(norms)},
	{"pool", both(pools)},
	{"depthwise", both(depthwises)},
	{"winograd", both(winograds)},
	{"loss", both(losses)},
	{"optimiser", both(optimisers)},
}

const generated = "go run . in internal/kernel/gen"

// asm builds the functions of one file.
type asm struct {
	*build.Context
	pkg *types.Package // of tile.go, for the types of arguments
}

// function begins one: signature may name the types of tile.go.
func (a *asm) function(name, signature, doc string) {
	a.Function(name)
	a.Doc(doc)
	a.Pragma("noescape")
	a.Attributes(attr.NOSPLIT)
	s, err := gotypes.ParseSignatureInPackage(a.pkg, signature)
	if err != nil {
		panic(fmt.Errorf("%s: %w", name, err))
	}
	a.Signature(s)
}

// offset is where a field lies in a struct of tile.go, bytes.
func (a *asm) offset(typeName, field string) int {
	st := a.pkg.Scope().Lookup(typeName).Type().Underlying().(*types.Struct)
	var fields []*types.Var
	for f := range st.Fields() {
		fields = append(fields, f)
	}
	for i, at := range types.SizesFor("gc", "amd64").Offsetsof(fields) {
		if fields[i].Name() == field {
			return int(at)
		}
	}
	panic(fmt.Errorf("%s has no field %s", typeName, field))
}

func main() {
	check := flag.Bool("check", false, "compare with the files that are there, write nothing")
	dir := flag.String("dir", "..", "folder of package kernel")
	flag.Parse()
	if err := run(*dir, *check); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(dir string, check bool) error {
	out, err := generate(filepath.Join(dir, "tile.go"))
	if err != nil {
		return err
	}
	var errs []error
	for name, want := range out {
		path := filepath.Join(dir, name)
		if !check {
			errs = append(errs, os.WriteFile(path, want, 0o644))
			continue
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			errs = append(errs, fmt.Errorf("%s is not what the generator writes: run `go run .` in internal/kernel/gen", path))
		}
	}
	return errors.Join(errs...)
}

// generate returns the files by name.
func generate(typesFile string) (map[string][]byte, error) {
	fset := token.NewFileSet()
	parsed, err := parser.ParseFile(fset, typesFile, nil, 0)
	if err != nil {
		return nil, err
	}
	pkg, err := new(types.Config).Check("driftgate/internal/kernel", fset, []*ast.File{parsed}, nil)
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	cfg := printer.Config{Name: generated, Pkg: "kernel"}
	var other bytes.Buffer
	fmt.Fprintf(&other, "// %s\n\n//go:build !amd64\n\npackage kernel\n", cfg.GeneratedWarning())
	for _, f := range files {
		a := &asm{build.NewContext(), pkg}
		f.build(a)
		file, err := a.Result()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		if err := pass.Compile.Execute(file); err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		if out[f.name+"_amd64.s"], err = printer.NewGoAsm(cfg).Print(file); err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		if out[f.name+"_amd64.go"], err = printer.NewStubs(cfg).Print(file); err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		for _, fn := range file.Functions() {
			fmt.Fprintf(&other, "\n%s { panic(%q) }\n", fn.Stub(), "kernel: amd64 only")
		}
	}
	out["stubs_other.go"], err = format.Source(other.Bytes())
	return out, err
}
