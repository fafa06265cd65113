package link

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// memory is Certificates without a disk.
type memory struct{ chain [][]byte }

func (m *memory) Load() ([][]byte, error)   { return m.chain, nil }
func (m *memory) Save(chain [][]byte) error { m.chain = chain; return nil }

// loadCertificate takes up the certificate of an earlier run, if it is for this device, key and tenant.
func (l *Link) loadCertificate() error {
	chain, err := l.cfg.Certificates.Load()
	if err == nil && len(chain) > 0 {
		err = l.useCertificate(chain, 0)
	}
	if err != nil {
		l.cfg.Log.Warn("the stored certificate is of no use", "reason", err)
	}
	if l.certificate == nil && l.cfg.Token == "" {
		return errors.New("this device is not enrolled and has no token: start the agent with --token, " +
			"which an operator makes with `probity token create`")
	}
	return nil
}

// useCertificate checks a chain and makes it the one to connect with. renew is when the verifier wants it renewed;
// 0 stands for two thirds of its life.
func (l *Link) useCertificate(chain [][]byte, renew time.Duration) error {
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return fmt.Errorf("device certificate: %w", err)
	}
	public, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	switch {
	case !ok || !public.Equal(l.cfg.Device.TLSSigner().Public()):
		return errors.New("device certificate: is for another key than this device's TLS key")
	case leaf.Subject.CommonName != l.cfg.Device.ID():
		return fmt.Errorf("device certificate: is for device %q, this is %q", leaf.Subject.CommonName, l.cfg.Device.ID())
	case len(leaf.Subject.Organization) != 1:
		return errors.New("device certificate: names no tenant")
	case l.tenant != "" && leaf.Subject.Organization[0] != l.tenant:
		return fmt.Errorf("device certificate: is for tenant %q, configured is %q", leaf.Subject.Organization[0], l.tenant)
	}
	l.tenant = leaf.Subject.Organization[0]
	l.expires = leaf.NotAfter
	l.certificate = &tls.Certificate{Certificate: chain, PrivateKey: l.cfg.Device.TLSSigner(), Leaf: leaf}
	now := l.cfg.Clock.Now()
	if renew == 0 {
		l.renewAt = leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) * 2 / 3)
		return nil
	}
	l.renewAt = now.Add(spread(renew, l.cfg.Jitter))
	return nil
}
