package registry_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	dg "driftgate"
	"driftgate/internal/network"
	"driftgate/internal/registry"
)

// keyPair writes a key pair as driftgate models keygen does.
func keyPair(t *testing.T) (private, public string) {
	t.Helper()
	secret, open, err := network.NewSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	private = filepath.Join(t.TempDir(), "signing.pem")
	public = private + ".pub"
	if err := errors.Join(os.WriteFile(private, secret, 0o600), os.WriteFile(public, open, 0o600)); err != nil {
		t.Fatal(err)
	}
	return private, public
}

// keyed is the same registry as another process with these keys sees it.
func (w *world) keyed(signing string, trusted ...string) *registry.Registry {
	w.t.Helper()
	keys, err := registry.ReadKeys(signing, trusted)
	if err != nil {
		w.t.Fatal(err)
	}
	return registry.New(w.store, w.bucket, registry.Options{Model: "garments", Logger: w.log, Keys: keys})
}

func TestOnlySignedModelsAreLoadedWhereKeysAreTrusted(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	mine, minePub := keyPair(t)
	other, otherPub := keyPair(t)
	unsigned := w.save(1)
	maker, reader, stranger := w.keyed(mine), w.keyed("", minePub), w.keyed("", otherPub)
	signed, err := maker.Save(ctx, filesOf(t, 2))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []*registry.Registry{w.Registry, maker, reader} {
		if _, err := r.Load(ctx, signed); err != nil {
			t.Errorf("load the signed one: %v", err)
		}
	}
	refused := func(what string, err error, says string) {
		t.Helper()
		wantKind(t, what, err, dg.ErrRefused)
		if err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v\nwant %q", what, err, says)
		}
	}
	_, err = reader.Load(ctx, unsigned)
	refused("load the unsigned one", err, "driftgate models sign "+unsigned.Short())
	_, err = reader.Promote(ctx, unsigned, dg.Champion{}, "gate", "")
	refused("promote the unsigned one", err, "not signed")
	_, err = stranger.Load(ctx, signed)
	refused("load with another's trust", err, "models.trusted_keys has")
	if _, err := w.keyed(other, minePub).Load(ctx, signed); err != nil {
		t.Errorf("a maker who trusts another: %v", err)
	}
	// A signature moved to another version is not one of it.
	b, _, err := w.store.Get(ctx, w.bucket, w.key(signed, network.SignatureFile))
	if err != nil {
		t.Fatal(err)
	}
	w.put(w.key(unsigned, network.SignatureFile), b)
	_, err = reader.Load(ctx, unsigned)
	refused("load with a signature of another version", err, "not one of this version")
	w.put(w.key(unsigned, network.SignatureFile), bytes.ReplaceAll(b, []byte(signed), []byte(unsigned)))
	_, err = reader.Load(ctx, unsigned)
	refused("load with an edited signature", err, "not one of this version")
	v, err := reader.Verify(ctx, unsigned)
	if err != nil || v.OK || v.Signature != registry.SignatureUntrusted || v.Problem == "" {
		t.Errorf("verified as %+v, %v", v, err)
	}
	// Somebody vouches for it.
	wantKind(t, "sign without a key", reader.Sign(ctx, unsigned), dg.ErrRefused)
	if err := maker.Sign(ctx, unsigned); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Load(ctx, unsigned); err != nil {
		t.Errorf("load after it was signed: %v", err)
	}
	if v, err := reader.Verify(ctx, unsigned); err != nil || !v.OK || v.Signature != registry.SignatureTrusted || len(v.KeyID) != 16 {
		t.Errorf("verified as %+v, %v", v, err)
	}
	if v, err := w.Verify(ctx, unsigned); err != nil || !v.OK || v.Signature != registry.SignatureUnchecked {
		t.Errorf("without keys verified as %+v, %v", v, err)
	}
	// Nobody vouches for what was altered.
	w.put(w.key(signed, network.LabelsFile), []byte("other\n"))
	wantKind(t, "sign what was altered", maker.Sign(ctx, signed), dg.ErrInvalid)
}

func TestNoByteOfASignatureMayChange(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	private, public := keyPair(t)
	ref, err := w.keyed(private).Save(ctx, filesOf(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	reader := w.keyed("", public)
	key := w.key(ref, network.SignatureFile)
	b, _, err := w.store.Get(ctx, w.bucket, key)
	if err != nil {
		t.Fatal(err)
	}
	last := bytes.LastIndexByte(bytes.TrimRight(b, "\n"), '\n') // the closing brace and what follows hold no meaning
	for at := 0; at < last; at += 5 {
		changed := bytes.Clone(b)
		changed[at] ^= 1
		w.put(key, changed)
		if _, err := reader.Load(ctx, ref); err == nil && !bytes.Equal(bytes.ToLower(changed), bytes.ToLower(b)) && !onlySpace(b[at]) {
			t.Errorf("byte %d %q altered to %q: loaded all the same", at, b[at], changed[at])
		} else if err != nil {
			wantKind(t, "load", err, dg.ErrRefused)
		}
	}
	w.put(key, bytes.Repeat([]byte("x"), 5000))
	_, err = reader.Load(ctx, ref)
	wantKind(t, "a huge signature", err, dg.ErrRefused)
	w.put(key, bytes.Replace(b, []byte(`"format_version": 1`), []byte(`"format_version": 2`), 1))
	_, err = reader.Load(ctx, ref)
	wantKind(t, "a newer signature", err, dg.ErrRefused)
	if err == nil || !strings.Contains(err.Error(), "a newer driftgate may read it") {
		t.Errorf("a newer signature: %v", err)
	}
}

// onlySpace reports whether a byte of indented JSON stands outside every value.
func onlySpace(b byte) bool { return b == ' ' || b == '\n' }

func TestKeyFilesAreOpenSSLs(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	dir := t.TempDir()
	run := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), openssl, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("openssl %v: %v\n%s", args, err, out)
		}
	}
	run("genpkey", "-algorithm", "ed25519", "-out", "their.pem")
	run("pkey", "-in", "their.pem", "-pubout", "-out", "their.pub")
	keys, err := registry.ReadKeys(filepath.Join(dir, "their.pem"), []string{filepath.Join(dir, "their.pub")})
	if err != nil || len(keys.Trusted) != 2 || !keys.Trusted[0].Equal(keys.Trusted[1]) {
		t.Fatalf("openssl's keys read as %d, %v", len(keys.Trusted), err)
	}
	// Ours in its hands: it verifies a signature of ours with our public key.
	_, public := keyPair(t)
	run("pkey", "-pubin", "-in", public, "-noout")
	ref := network.Digest(filesOf(t, 1))
	b, err := network.Sign(keys.Signing, ref)
	if err != nil {
		t.Fatal(err)
	}
	s, err := network.ReadSignature(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "sig"), s.Signature, 0o600),
		os.WriteFile(filepath.Join(dir, "text"), []byte("driftgate model "+string(ref)+"\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	run("pkeyutl", "-verify", "-pubin", "-inkey", "their.pub", "-rawin", "-in", "text", "-sigfile", "sig")
}

func TestBadKeyFilesAreNamed(t *testing.T) {
	private, public := keyPair(t)
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		signing string
		trusted []string
		says    string
	}{
		{public, nil, "PRIVATE KEY"},
		{empty, nil, "openssl genpkey"},
		{filepath.Join(t.TempDir(), "none.pem"), nil, "none.pem"},
		{t.TempDir(), nil, "want a PEM file"},
		{"", []string{public, private}, "openssl pkey"},
		{"", []string{empty}, "empty.pem"},
	} {
		_, err := registry.ReadKeys(tt.signing, tt.trusted)
		wantKind(t, "read keys", err, dg.ErrInvalid)
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("signing %q, trusted %v: %v\nwant %q", tt.signing, tt.trusted, err, tt.says)
		}
	}
}
