package kernel

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What AVX2, FMA and AVX have of what the assembler knows: an instruction of
// AVX-512 in a kernel for AVX2 would work on the machine of whoever wrote it.
var avx2Instructions = map[string]bool{}

func init() {
	for _, name := range strings.Fields(`
		VADDPD VADDPS VANDNPS VANDPS VBROADCASTSS VCMPPS VCVTDQ2PS VCVTPS2DQ VCVTPS2PD VDIVPS VEXTRACTF128
		VFMADD132PS VFMADD213PS VFMADD231PD VFMADD231PS VFMADD231SS VFMSUB213PS VFNMADD231PS VHADDPS VINSERTF128
		VMASKMOVPD VMASKMOVPS VMAXPS VMINPS VMOVAPS VMOVSS VMOVUPD VMOVUPS VMULPS VORPS VPADDD VPBROADCASTD
		VPERM2F128 VPERMILPD VPMOVSXDQ VPSLLD VPSRAD VPSUBD VPXOR VROUNDPS VSHUFPS VSQRTPS VSUBPS VUNPCKHPD
		VUNPCKHPS VUNPCKLPD VUNPCKLPS VXORPS VZEROUPPER`) {
		avx2Instructions[name] = true
	}
}

func TestAVX2KernelsKeepToAVX2(t *testing.T) {
	files, err := filepath.Glob("*_amd64.s")
	if err != nil || len(files) == 0 {
		t.Fatalf("assembly: %d files, %v", len(files), err)
	}
	function := regexp.MustCompile(`^TEXT ·(\w+)\(`)
	best := regexp.MustCompile(`512`)
	beyond := regexp.MustCompile(`\bZ[0-9]+\b|\bK[1-7]\b|\b[XY](1[6-9]|2[0-9]|3[01])\b`)
	instructions := 0
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := ""
		for line := range strings.Lines(string(source)) {
			if m := function.FindStringSubmatch(line); m != nil {
				name = m[1]
			}
			words := strings.Fields(line)
			if best.MatchString(name) || len(words) == 0 || words[0][0] != 'V' {
				continue
			}
			instructions++
			if !avx2Instructions[words[0]] || beyond.MatchString(line) {
				t.Errorf("%s: %s: %s is not of AVX2", file, name, strings.TrimSpace(line))
			}
		}
	}
	if instructions < 1000 {
		t.Errorf("%d vector instructions in kernels for AVX2: the test does not see them", instructions)
	}
}
