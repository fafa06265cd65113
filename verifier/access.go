package verifier

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"

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
	parsed, err := enroll.ParseToken(token)
	if err != nil {
		return "", err
	}
	known, err := a.store.Token(ctx, parsed.ID)
	if err != nil {
		return "", err
	}
	if parsed.Kind != enroll.DeviceToken || !parsed.Matches(known) {
		return "", errors.New("not an enrolment token of this verifier")
	}
	return parsed.Tenant, nil
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
