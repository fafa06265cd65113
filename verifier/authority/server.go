package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"slices"
)

// ServerTLS returns the configuration of a TLS 1.3 server. It shows the server's certificate, renewed when two thirds
// of its life are over, and the CA's, so that an agent can find the one whose fingerprint it pinned. Clients need no
// certificate, but one that is shown must be a device's (see Device); an expired one passes.
func (a *Authority) ServerTLS() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		ClientAuth:     tls.RequestClientCert,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return a.serverCertificate() },
		VerifyConnection: func(s tls.ConnectionState) error { // also on resumption
			if len(s.PeerCertificates) == 0 {
				return nil
			}
			_, _, err := a.Device(s.PeerCertificates[0])
			return err
		},
	}
}

// serverCertificate returns the current certificate, renewing it when it is due. A renewed one is used even where it
// cannot be written: a full disk must not end the service.
func (a *Authority) serverCertificate() (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.server != nil && !a.due(a.server.Leaf) {
		return a.server, nil
	}
	fresh, err := a.issueServer()
	if err != nil {
		if a.server != nil && a.config.Now().Before(a.server.Leaf.NotAfter) {
			return a.server, nil
		}
		return nil, err
	}
	a.server = fresh
	_ = a.writeServer(fresh)
	return fresh, nil
}

// due reports whether the certificate is to be renewed: two thirds of its life are over, or it is for other hosts.
func (a *Authority) due(c *x509.Certificate) bool {
	life := c.NotAfter.Sub(c.NotBefore)
	now := a.config.Now()
	dns, ips := splitHosts(a.config.Hosts)
	return now.After(c.NotBefore.Add(life*2/3)) || now.Before(c.NotBefore) ||
		!slices.Equal(c.DNSNames, dns) || !slices.EqualFunc(c.IPAddresses, ips, net.IP.Equal)
}

func (a *Authority) issueServer() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make server key: %w", err)
	}
	dns, ips := splitHosts(a.config.Hosts)
	now := a.config.Now()
	cert, err := a.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "Probity verifier"},
		DNSNames:    dns,
		IPAddresses: ips,
		NotBefore:   now.Add(-backdate),
		NotAfter:    now.Add(ServerLifetime),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, key.Public())
	if err != nil {
		return nil, err
	}
	return a.serverPair(cert, key), nil
}

func (a *Authority) serverPair(cert *x509.Certificate, key *ecdsa.PrivateKey) *tls.Certificate {
	return &tls.Certificate{Certificate: [][]byte{cert.Raw, a.cert.Raw}, PrivateKey: key, Leaf: cert}
}

func splitHosts(hosts []string) (dns []string, ips []net.IP) {
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			ips = append(ips, ip)
		} else {
			dns = append(dns, h)
		}
	}
	return dns, ips
}
