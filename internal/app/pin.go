package app

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"

	"driftgate"
)

// Client speaks to the gateway that wrote the file. Over TLS it takes the one
// certificate that the file names and no other, so that a self-signed one, or
// one made for another name, serves on this machine too. A gateway that asks
// its clients for certificates refuses it.
func (r RunFile) Client() (*Client, error) {
	c := NewClient(r.Address, r.Token)
	text := []byte(r.Certificate)
	if r.CertificateFile != "" {
		var err error
		if text, err = os.ReadFile(r.CertificateFile); err != nil {
			return nil, fmt.Errorf("app: read the gateway's certificate: %w", err)
		}
	}
	if len(text) == 0 {
		return c, nil
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("app: the gateway's certificate: want PEM: %w", driftgate.ErrInvalid)
	}
	c.http.Transport.(*http.Transport).TLSClientConfig = &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // VerifyConnection compares the whole certificate
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 || !bytes.Equal(s.PeerCertificates[0].Raw, block.Bytes) {
				return errors.New("app: the server's certificate is not the gateway's")
			}
			return nil
		},
	}
	return c, nil
}
