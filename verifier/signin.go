package verifier

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	people "github.com/probity-attest/probity/verifier/access"
)

// Access configures how people sign in to the dashboard and the API, beside passwords and tokens.
type Access struct {
	URL             string        `koanf:"url" doc:"URL of the dashboard as browsers reach it; OpenID providers send people back there; default: the address of the API"`
	SessionLifetime time.Duration `koanf:"session-lifetime" doc:"after which people must sign in again"`
	SessionIdle     time.Duration `koanf:"session-idle" doc:"after which people must sign in again when they did nothing"`
	ClientCAs       string        `koanf:"client-cas" doc:"PEM file of the authorities whose client certificates may stand for accounts; default: none, and browsers are not asked for certificates"`
	CAFile          string        `koanf:"ca-file" doc:"PEM file of certificate authorities that OpenID providers are trusted by, beside the system's"`
	OIDC            []OIDC        `koanf:"oidc" doc:"OpenID providers whose users may be accounts"`
}

// OIDC is an OpenID provider. It must be told of this verifier's URL https://HOST:PORT/auth/oidc/ID/return.
type OIDC struct {
	ID         string   `koanf:"id" doc:"1 to 32 of a-z, 0-9 and -; stands in the URLs"`
	Name       string   `koanf:"name" doc:"on the button; default: the id"`
	Issuer     string   `koanf:"issuer" doc:"https URL of the provider, as its discovery document says"`
	ClientID   string   `koanf:"client-id" doc:"of this verifier at the provider"`
	SecretFile string   `koanf:"client-secret-file" doc:"file with this verifier's secret at the provider; default: it has none"`
	Scopes     []string `koanf:"scopes" doc:"beside openid; default: email"`
	Domains    []string `koanf:"domains" doc:"of the e-mail addresses by which it may name accounts, such as example.com; default: all, or where there are several providers none, so that no provider can speak for the users of another"`
}

// requestTimeout bounds what is asked of an OpenID provider.
const requestTimeout = 10 * time.Second

// maxSecret is the most bytes of a file with a secret.
const maxSecret = 4096

// check reports what is wrong with the configuration. It reads nothing.
func (a *Access) check() error {
	var errs []error
	if a.URL != "" {
		if u, err := url.Parse(a.URL); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || strings.Trim(u.Path, "/") != "" {
			errs = append(errs, fmt.Errorf("access.url: %q: want https://HOST or https://HOST:PORT", a.URL))
		}
	}
	if a.SessionLifetime < time.Minute {
		errs = append(errs, fmt.Errorf("access.session-lifetime: %s: want at least 1m", a.SessionLifetime))
	}
	if a.SessionIdle < time.Minute {
		errs = append(errs, fmt.Errorf("access.session-idle: %s: want at least 1m", a.SessionIdle))
	}
	ids := map[string]bool{}
	for _, o := range a.OIDC {
		p := o.provider()
		if err := p.Check(); err != nil {
			errs = append(errs, fmt.Errorf("access.oidc: %w", err))
		}
		if ids[o.ID] {
			errs = append(errs, fmt.Errorf("access.oidc: two providers have the id %q", o.ID))
		}
		ids[o.ID] = true
	}
	return errors.Join(errs...)
}

func (o *OIDC) provider() people.Provider {
	return people.Provider{ID: o.ID, Name: o.Name, Issuer: o.Issuer, ClientID: o.ClientID, Scopes: o.Scopes, Domains: o.Domains}
}

// providers returns the OpenID providers with their secrets.
func (a *Access) providers() ([]people.Provider, error) {
	var out []people.Provider
	for _, o := range a.OIDC {
		p := o.provider()
		if o.SecretFile != "" {
			b, err := readSecret(o.SecretFile)
			if err != nil {
				return nil, fmt.Errorf("access.oidc %s: client-secret-file: %w", o.ID, err)
			}
			p.Secret = b
		}
		if a.CAFile != "" {
			pool, err := pemPool("access.ca-file", a.CAFile, true)
			if err != nil {
				return nil, err
			}
			transport := http.DefaultTransport.(*http.Transport).Clone()
			transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
			p.Client = &http.Client{Transport: transport, Timeout: requestTimeout}
		}
		out = append(out, p)
	}
	return out, nil
}

// readSecret returns the one line of a file.
func readSecret(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", err
	}
	s := strings.TrimRight(string(b), "\r\n")
	if len(b) > maxSecret || s == "" || strings.ContainsAny(s, "\r\n") {
		return "", fmt.Errorf("%s: want one line of at most %d bytes", path, maxSecret)
	}
	return s, nil
}

// pemPool returns the certificates of a PEM file, if system is set beside those of the system.
func pemPool(key, path string, system bool) (*x509.CertPool, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	pool := x509.NewCertPool()
	if system {
		if all, err := x509.SystemCertPool(); err == nil {
			pool = all
		}
	}
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s: %s: want certificates in PEM", key, path)
	}
	return pool, nil
}

// people returns who may sign in, beside the holders of tokens. The API must listen already.
func (v *Verifier) people() (people.Config, error) {
	a := &v.cfg.Access
	providers, err := a.providers()
	if err != nil {
		return people.Config{}, err
	}
	return people.Config{
		Tenant: v.cfg.Tenant, Setup: v.setup, Lifetime: a.SessionLifetime, Idle: a.SessionIdle, URL: v.dashboard(), Providers: providers,
	}, nil
}

// dashboard returns where browsers reach the dashboard.
func (v *Verifier) dashboard() string {
	if v.cfg.Access.URL != "" {
		return strings.TrimRight(v.cfg.Access.URL, "/")
	}
	return v.apiURL()
}

// apiTLS is the server's TLS. Clients are asked for certificates only where some may stand for accounts, and then only for
// those of the authorities that the configuration names: devices' are not among them.
func (v *Verifier) apiTLS() (*tls.Config, error) {
	c := v.authority.ServerTLS()
	c.ClientAuth, c.ClientCAs, c.VerifyPeerCertificate, c.VerifyConnection = tls.NoClientCert, nil, nil, nil
	c.NextProtos = []string{"h2", "http/1.1"}
	if path := v.cfg.Access.ClientCAs; path != "" {
		pool, err := pemPool("access.client-cas", path, false)
		if err != nil {
			return nil, err
		}
		c.ClientAuth, c.ClientCAs = tls.VerifyClientCertIfGiven, pool
	}
	return c, nil
}

// welcomePeople tells on out how the first account is made, as long as there is none.
func (v *Verifier) welcomePeople(ctx context.Context, out io.Writer) error {
	has, err := v.store.HasAccounts(ctx, v.cfg.Tenant)
	if err != nil || has {
		return err
	}
	fmt.Fprintf(out, `Nobody may sign in to the dashboard yet. Make the first account at

  %s/setup

with the code %s. It is good until there is an account or the verifier ends.

`, v.dashboard(), v.setup)
	return nil
}
