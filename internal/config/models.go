package config

import (
	"fmt"
	"time"
)

// Models is who vouches for models, and which of them are kept.
type Models struct {
	SigningKey  string   `key:"signing_key" doc:"file with an Ed25519 private key (PEM, PKCS 8: openssl genpkey -algorithm ed25519) that signs every model trained here; empty signs none"`
	TrustedKeys []string `key:"trusted_keys" doc:"files with Ed25519 public keys (PEM: openssl pkey -pubout); with any, a model is loaded only if it is signed by one of them or by models.signing_key; empty asks for no signature"`

	Keep            int           `key:"keep" doc:"pruning keeps this many of the newest models that are neither champion, nor previous, nor exposed; 0 keeps all"`
	KeepFor         time.Duration `key:"keep_for" doc:"pruning keeps models younger than this"`
	KeepGenerations int           `key:"keep_generations" doc:"pruning keeps the champions of this many generations, the present one included"`

	OldUploads bool `key:"old_uploads" doc:"also copy a model's files to model/{2006-01-02-15:04:05}_{file} in the models bucket before and after a training, as the MobileNet lab did"`
}

func defaultModels() Models {
	return Models{KeepFor: 30 * 24 * time.Hour, KeepGenerations: 10}
}

// check returns what is wrong with the values; key files are read when a
// gateway starts.
func (m Models) check() []fault {
	var out []fault
	want := func(ok bool, key, format string, args ...any) {
		if !ok {
			out = append(out, fault{"models." + key, fmt.Sprintf(format, args...)})
		}
	}
	for _, path := range m.TrustedKeys {
		want(path != "", "trusted_keys", "an empty path: want files, separated by commas")
	}
	want(m.Keep >= 0, "keep", "%d: want 0 or more", m.Keep)
	want(m.KeepFor >= 0, "keep_for", "%s: want 0s or more", m.KeepFor)
	want(m.KeepGenerations >= 1, "keep_generations", "%d: want at least 1", m.KeepGenerations)
	return out
}
