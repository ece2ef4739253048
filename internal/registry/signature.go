package registry

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"strings"

	dg "driftgate"
	"driftgate/internal/network"
	"driftgate/internal/objstore"
)

// Keys sign models and check who has signed them. The zero Keys do neither.
type Keys struct {
	Signing ed25519.PrivateKey  // signs what is saved; nil signs nothing
	Trusted []ed25519.PublicKey // one of them must have signed what is loaded; none asks for no signature
}

// maxKeyFile bounds a key file, in bytes.
const maxKeyFile = 64 << 10

// ReadKeys reads the key files: an Ed25519 private key, and files of public
// keys, all in PEM as openssl writes them. An empty path is none. Where trusted
// keys are given, the signing key's own is trusted too: what is made here must
// be loaded here. The error is [dg.ErrInvalid] and names the file.
func ReadKeys(signing string, trusted []string) (k Keys, err error) {
	if signing != "" {
		b, err := readKeyFile(signing)
		if err != nil {
			return k, err
		}
		if k.Signing, err = network.ParseSigningKey(b); err != nil {
			return k, fmt.Errorf("registry: %s: %w", signing, err)
		}
	}
	for _, path := range trusted {
		b, err := readKeyFile(path)
		if err != nil {
			return k, err
		}
		keys, err := network.ParseTrustedKeys(b)
		if err != nil {
			return k, fmt.Errorf("registry: %s: %w", path, err)
		}
		k.Trusted = append(k.Trusted, keys...)
	}
	if k.Signing != nil && len(k.Trusted) > 0 {
		k.Trusted = append(k.Trusted, k.Signing.Public().(ed25519.PublicKey))
	}
	return k, nil
}

func readKeyFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("registry: read key: %w: %w", dg.ErrInvalid, err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxKeyFile {
		return nil, fmt.Errorf("registry: read key: %s: %d bytes, want a PEM file of at most %d: %w", path, info.Size(), maxKeyFile, dg.ErrInvalid)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("registry: read key: %w: %w", dg.ErrInvalid, err)
	}
	return b, nil
}

// check refuses a version without a signature by a trusted key; the error is
// [dg.ErrRefused] and says what to do.
func (k Keys) check(ref dg.ModelRef, signature []byte) error {
	if len(k.Trusted) == 0 {
		return nil
	}
	if signature == nil {
		return fmt.Errorf("not signed, and models.trusted_keys asks for it: let who made it sign it, or vouch for it here with driftgate models sign %s: %w", ref.Short(), dg.ErrRefused)
	}
	s, err := network.ReadSignature(signature)
	if err != nil {
		return fmt.Errorf("%s is broken (%w): sign it again with driftgate models sign %s: %w", network.SignatureFile, err, ref.Short(), dg.ErrRefused)
	}
	if _, ok := s.By(ref, k.Trusted); ok {
		return nil
	}
	for _, key := range k.Trusted {
		if s.KeyID == network.KeyID(key) {
			return fmt.Errorf("the signature of key %s is not one of this version: forged or misplaced: find out who wrote it before you vouch for it with driftgate models sign %s: %w", s.KeyID, ref.Short(), dg.ErrRefused)
		}
	}
	return fmt.Errorf("signed by key %.40q, and models.trusted_keys has %s: add that key there if you trust its holder, or vouch for it here with driftgate models sign %s: %w", s.KeyID, k.names(), ref.Short(), dg.ErrRefused)
}

func (k Keys) names() string {
	var names []string
	for _, key := range k.Trusted {
		names = append(names, network.KeyID(key))
	}
	return strings.Join(names, ", ")
}

// saveSignature writes a signature beside an artifact, unless one that this
// registry accepts lies there.
func (r *Registry) saveSignature(ctx context.Context, ref dg.ModelRef, signature []byte) error {
	key := artifactKey(ref, network.SignatureFile)
	_, err := r.store.Put(ctx, r.bucket, key, signature, objstore.PutOptions{IfNoneMatch: true, ContentType: contentType(key)})
	if !errors.Is(err, dg.ErrConflict) {
		return err
	}
	stored, o, err := r.store.Get(ctx, r.bucket, key)
	if err != nil || bytes.Equal(stored, signature) {
		return err
	}
	if _, broken := network.ReadSignature(stored); broken == nil && r.o.Keys.check(ref, stored) == nil {
		return nil
	}
	_, err = r.store.Put(ctx, r.bucket, key, signature, objstore.PutOptions{IfMatch: o.ETag, ContentType: contentType(key)})
	return err
}

// Sign vouches for a model with the signing key, in place of what signature it
// had, after its contents were checked against its name and its self-test came
// out. The error is [dg.ErrRefused] without a signing key.
func (r *Registry) Sign(ctx context.Context, ref dg.ModelRef) error {
	if r.o.Keys.Signing == nil {
		return fmt.Errorf("registry: sign %s: no signing key: set models.signing_key: %w", ref.Short(), dg.ErrRefused)
	}
	if _, err := r.tested(ctx, ref, Keys{}); err != nil { // whoever signed it before
		return fmt.Errorf("registry: sign: %w", err)
	}
	signature, err := network.Sign(r.o.Keys.Signing, ref)
	if err != nil {
		return fmt.Errorf("registry: sign %s: %w", ref.Short(), err)
	}
	key := artifactKey(ref, network.SignatureFile)
	if _, err := r.store.Put(ctx, r.bucket, key, signature, objstore.PutOptions{ContentType: contentType(key)}); err != nil {
		return fmt.Errorf("registry: sign %s: %w", ref.Short(), err)
	}
	r.log.Info("model signed", "version", ref.Short(), "key", network.KeyID(r.o.Keys.Signing.Public().(ed25519.PublicKey)))
	return nil
}

// The states of a signature.
const (
	SignatureNone      = "none"      // the model is not signed
	SignatureTrusted   = "trusted"   // by a key of models.trusted_keys
	SignatureUntrusted = "untrusted" // by another key, or not of this version
	SignatureBroken    = "broken"    // the file cannot be read
	SignatureUnchecked = "unchecked" // there is one, and no trusted keys are configured
)

// Verification is what was found when a model was looked at from its bytes on.
type Verification struct {
	Ref       dg.ModelRef `json:"ref"`
	OK        bool        `json:"ok"`                // it would be loaded, and its self-test comes out
	Problem   string      `json:"problem,omitempty"` // why not, and what to do
	Signature string      `json:"signature" doc:"none, trusted, untrusted, broken, or unchecked (no trusted keys are configured)"`
	KeyID     string      `json:"key_id,omitempty"` // of who says to have signed
}

// Verify loads a model the way serving does and says what it finds. The error
// is a fault of the store alone, or [dg.ErrNotFound].
func (r *Registry) Verify(ctx context.Context, ref dg.ModelRef) (Verification, error) {
	v := Verification{Ref: ref, Signature: SignatureNone}
	signature, _, err := r.store.Get(ctx, r.bucket, artifactKey(ref, network.SignatureFile))
	if err != nil && !errors.Is(err, dg.ErrNotFound) {
		return v, fmt.Errorf("registry: verify %s: %w", ref.Short(), err)
	}
	if err == nil {
		s, broken := network.ReadSignature(signature)
		_, trusted := s.By(ref, r.o.Keys.Trusted)
		v.KeyID = s.KeyID
		switch {
		case broken != nil:
			v.Signature = SignatureBroken
		case trusted:
			v.Signature = SignatureTrusted
		case len(r.o.Keys.Trusted) == 0:
			v.Signature = SignatureUnchecked
		default:
			v.Signature = SignatureUntrusted
		}
	}
	_, err = r.classifier(ctx, ref)
	switch {
	case err == nil:
		v.OK = true
	case errors.Is(err, dg.ErrInvalid) || errors.Is(err, dg.ErrRefused):
		v.Problem = err.Error()
	default:
		return v, fmt.Errorf("registry: verify: %w", err)
	}
	return v, nil
}
