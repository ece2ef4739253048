package network

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"

	dg "driftgate"
)

// SignatureFile lies beside an artifact's files. It is not one of them: the
// version's name does not depend on who has signed it.
const SignatureFile = "signature.json"

// signatureFormat is the newest form of a signature that is written and read.
const signatureFormat = 1

// maxSignature bounds a signature file, in bytes.
const maxSignature = 4 << 10

// Signature says that the holder of a key vouches for a version. What is
// signed, by Ed25519 (RFC 8032), is the text "driftgate model ", the version's
// whole name and a newline.
type Signature struct {
	FormatVersion int         `json:"format_version"`
	Algorithm     string      `json:"algorithm"` // "ed25519"
	KeyID         string      `json:"key_id"`    // see [KeyID]
	Version       dg.ModelRef `json:"version"`
	Signature     []byte      `json:"signature"` // 64 bytes; base64 in JSON
}

func signedText(ref dg.ModelRef) []byte { return []byte("driftgate model " + string(ref) + "\n") }

// KeyID names a public key: the first 16 hex digits of the SHA-256 over its
// PKIX form (`openssl pkey -pubin -outform DER | sha256sum`).
func KeyID(key ed25519.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		panic(err) // every Ed25519 key has that form
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:8])
}

// Sign returns the contents of a signature file. The same key and version give
// the same bytes.
func Sign(key ed25519.PrivateKey, ref dg.ModelRef) ([]byte, error) {
	b, err := json.MarshalIndent(Signature{signatureFormat, "ed25519", KeyID(key.Public().(ed25519.PublicKey)), ref, ed25519.Sign(key, signedText(ref))}, "", "  ")
	return append(b, '\n'), err
}

// ReadSignature decodes a signature file and checks its form, not who signed;
// the error is [dg.ErrInvalid].
func ReadSignature(b []byte) (s Signature, err error) {
	bad := func(format string, a ...any) (Signature, error) {
		return Signature{}, fmt.Errorf("network: read signature: %s: %w", fmt.Sprintf(format, a...), dg.ErrInvalid)
	}
	if len(b) > maxSignature {
		return bad("%d bytes, want at most %d", len(b), maxSignature)
	}
	var version struct {
		FormatVersion int `json:"format_version"`
	}
	if err := json.Unmarshal(b, &version); err != nil {
		return bad("%v", err)
	}
	if version.FormatVersion != signatureFormat {
		return bad("format version %d, this driftgate reads %d: a newer driftgate may read it", version.FormatVersion, signatureFormat)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return bad("%v", err)
	}
	if s.Algorithm != "ed25519" || len(s.Signature) != ed25519.SignatureSize {
		return bad("algorithm %q with %d bytes, want ed25519 with %d", s.Algorithm, len(s.Signature), ed25519.SignatureSize)
	}
	return s, nil
}

// By returns the key that made the signature of ref, of those given; false when
// it was made by none of them, or for another version.
func (s Signature) By(ref dg.ModelRef, keys []ed25519.PublicKey) (ed25519.PublicKey, bool) {
	for _, key := range keys {
		if s.Version == ref && s.KeyID == KeyID(key) && ed25519.Verify(key, signedText(ref), s.Signature) {
			return key, true
		}
	}
	return nil, false
}

// NewSigningKey draws a key pair and returns it as PEM: PKCS 8 and PKIX, as
// openssl writes and reads them.
func NewSigningKey() (private, public []byte, err error) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("network: new signing key: %w", err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("network: new signing key: %w", err)
	}
	open, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, nil, fmt.Errorf("network: new signing key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: privateBlock, Bytes: secret}), pem.EncodeToMemory(&pem.Block{Type: publicBlock, Bytes: open}), nil
}

const (
	privateBlock = "PRIVATE KEY"
	publicBlock  = "PUBLIC KEY"
)

// ParseSigningKey reads an Ed25519 private key in PEM (PKCS 8, not encrypted),
// as `openssl genpkey -algorithm ed25519` writes it. The error is
// [dg.ErrInvalid] and never shows the contents.
func ParseSigningKey(b []byte) (ed25519.PrivateKey, error) {
	block, _ := pem.Decode(b)
	if block == nil || block.Type != privateBlock {
		return nil, fmt.Errorf("network: read signing key: want PEM with a %s block: openssl genpkey -algorithm ed25519: %w", privateBlock, dg.ErrInvalid)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("network: read signing key: not PKCS 8: %w", dg.ErrInvalid)
	}
	ed, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("network: read signing key: %T, want an Ed25519 key: %w", key, dg.ErrInvalid)
	}
	return ed, nil
}

// ParseTrustedKeys reads one or more Ed25519 public keys in PEM, as `openssl
// pkey -pubout` writes them. The error is [dg.ErrInvalid].
func ParseTrustedKeys(b []byte) ([]ed25519.PublicKey, error) {
	var keys []ed25519.PublicKey
	for {
		block, rest := pem.Decode(b)
		if block == nil {
			break
		}
		b = rest
		if block.Type != publicBlock {
			return nil, fmt.Errorf("network: read trusted key: a %q block, want %s: openssl pkey -in KEY -pubout: %w", block.Type, publicBlock, dg.ErrInvalid)
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("network: read trusted key: %w: %w", dg.ErrInvalid, err)
		}
		ed, ok := key.(ed25519.PublicKey)
		if !ok {
			return nil, fmt.Errorf("network: read trusted key: %T, want an Ed25519 key: %w", key, dg.ErrInvalid)
		}
		keys = append(keys, ed)
	}
	if len(keys) == 0 || len(bytes.TrimSpace(b)) > 0 {
		return nil, fmt.Errorf("network: read trusted key: want PEM with %s blocks alone: openssl pkey -in KEY -pubout: %w", publicBlock, dg.ErrInvalid)
	}
	return keys, nil
}
