package verifier

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/authority"
	"github.com/probity-attest/probity/verifier/enroll"
	"github.com/probity-attest/probity/verifier/store"
)

// access decides for the broker who may connect.
type access struct {
	store     store.Store
	authority *authority.Authority
}

// Token implements broker.Access: any genuine enrolment token opens the enrolment topics. Whether it still lets anybody in
// is for package enroll to decide, which can say why not; MQTT cannot.
func (a access) Token(ctx context.Context, token, _ string) (string, error) {
	known, err := a.stored(ctx, enroll.DeviceToken, token)
	return known.Tenant, err
}

// Operator implements broker.Access: a token for the API that is in force and may see devices.
func (a access) Operator(ctx context.Context, token string) (string, error) {
	known, err := a.stored(ctx, enroll.OperatorToken, token)
	if err != nil {
		return "", err
	}
	if known.Revoked || !known.Expires.IsZero() && !time.Now().Before(known.Expires) {
		return "", errors.New("operator token has expired or was revoked")
	}
	if known.Role == string(v1.Vendor) {
		return "", errors.New("a vendor sees no devices")
	}
	return known.Tenant, nil
}

// stored returns what is stored of a genuine token of this kind, in force or not.
func (a access) stored(ctx context.Context, kind enroll.TokenKind, text string) (store.Token, error) {
	parsed, err := enroll.ParseToken(text)
	if err != nil {
		return store.Token{}, err
	}
	known, err := a.store.Token(ctx, parsed.ID)
	if err != nil {
		return store.Token{}, err
	}
	if parsed.Kind != kind || !parsed.Matches(known) {
		return store.Token{}, errors.New("not a token of this kind and verifier")
	}
	return known, nil
}

// Device implements broker.Access: a certificate of our CA, expired or not, for a device that is enrolled.
func (a access) Device(ctx context.Context, cert *x509.Certificate) (tenant, device string, err error) {
	if tenant, device, err = a.authority.Device(cert); err != nil {
		return "", "", err
	}
	d, err := a.store.Device(ctx, tenant, device)
	if err != nil {
		return "", "", fmt.Errorf("device %s: %w", device, err)
	}
	if d.Status != store.Active {
		return "", "", errors.New("device is not enrolled")
	}
	return tenant, device, nil
}
