package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// authority signs certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// makeCertificates makes two authorities, a server's certificate by the first, and a client's by each, and writes into
// the folder:
//
//	ca.pem              the authority of the server and the right client
//	client.pem .key     a client by it
//	other-ca.pem        a stranger's authority
//	other-client.pem .key  a client by that
func makeCertificates(folder string, needsClient bool) (*tls.Config, error) {
	ca, err := newAuthority("test authority")
	if err != nil {
		return nil, err
	}
	other, err := newAuthority("another authority")
	if err != nil {
		return nil, err
	}
	server, err := ca.sign("localhost", x509.ExtKeyUsageServerAuth)
	if err != nil {
		return nil, err
	}
	for name, signer := range map[string]*authority{"": ca, "other-": other} {
		if err := writePEM(filepath.Join(folder, name+"ca.pem"), "CERTIFICATE", signer.certificate.Raw); err != nil {
			return nil, err
		}
		client, err := signer.sign("client", x509.ExtKeyUsageClientAuth)
		if err != nil {
			return nil, err
		}
		if err := writePEM(filepath.Join(folder, name+"client.pem"), "CERTIFICATE", client.Certificate[0]); err != nil {
			return nil, err
		}
		key, err := x509.MarshalPKCS8PrivateKey(client.PrivateKey)
		if err != nil {
			return nil, err
		}
		if err := writePEM(filepath.Join(folder, name+"client.key"), "PRIVATE KEY", key); err != nil {
			return nil, err
		}
	}
	config := serverTLS()
	config.Certificates = []tls.Certificate{*server}
	if needsClient {
		config.ClientAuth = tls.RequireAndVerifyClientCert
		config.ClientCAs = x509.NewCertPool()
		config.ClientCAs.AddCert(ca.certificate)
	}
	return config, nil
}

func newAuthority(name string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := template(name)
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(raw)
	return &authority{certificate, key}, err
}

func (a *authority) sign(name string, usage x509.ExtKeyUsage) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := template(name)
	template.ExtKeyUsage = []x509.ExtKeyUsage{usage}
	template.DNSNames = []string{name}
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	raw, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}, nil
}

func template(name string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		panic(err) // the system has no randomness
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
}

func writePEM(path, kind string, raw []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw}), 0o600)
}
