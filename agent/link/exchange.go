package link

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/probity-attest/probity/proto"
)

// maxAnswers is how many challenges one enrolment answers: each costs the TPM an activation.
const maxAnswers = 4

// DeniedError says that the verifier refused to enrol this device.
type DeniedError struct {
	Code    string
	Message string
}

// Error implements error.
func (e *DeniedError) Error() string {
	return fmt.Sprintf("the verifier refuses to enrol this device (%s): %s", e.Code, e.Message)
}

// PendingError says that an operator must approve the device first.
type PendingError struct{ Message string }

// Error implements error.
func (e *PendingError) Error() string {
	return "this device waits for an operator's approval: " + e.Message
}

// retryError is a failure after which to try again no sooner than after some time.
type retryError struct {
	error
	after time.Duration
}

func (e *retryError) Unwrap() error { return e.error }

// finalError is a failure after which trying again is of no use.
type finalError struct{ error }

func (e *finalError) Unwrap() error { return e.error }

// exchange is one enrolment or renewal: a hello, usually a challenge and its proof, and the outcome.
type exchange struct {
	device  Device
	token   string
	hello   []byte
	answers int
}

// start returns the first message.
func (x *exchange) start(ctx context.Context) (publication, error) {
	hello, err := x.device.Hello(ctx)
	if err != nil {
		return publication{}, fmt.Errorf("enrolment: %w", err)
	}
	x.hello, x.answers = hello, 0
	return x.message(&proto.EnrollUp{Hello: hello, Token: x.token})
}

// answer takes what the verifier says. It returns either what to reply or the certificate that ends the exchange.
// Errors are *retryError for pending, and for denied with a time; *DeniedError for denied without one.
func (x *exchange) answer(ctx context.Context, m *proto.EnrollDown) (publication, *proto.EnrollCertificate, error) {
	switch {
	case m.Certificate != nil:
		return publication{}, m.Certificate, nil
	case m.Pending != nil:
		return publication{}, nil, &retryError{&PendingError{m.Pending.Message}, seconds(m.Pending.Retry)}
	case m.Denied != nil && m.Denied.Retry > 0:
		return publication{}, nil, &retryError{&DeniedError{m.Denied.Code, m.Denied.Message}, seconds(m.Denied.Retry)}
	case m.Denied != nil:
		return publication{}, nil, &DeniedError{m.Denied.Code, m.Denied.Message}
	case x.answers == maxAnswers:
		return publication{}, nil, errors.New("enrolment: the verifier challenges again and again")
	}
	x.answers++
	answer, err := x.device.Answer(ctx, x.hello, m.Challenge)
	if err != nil {
		return publication{}, nil, fmt.Errorf("enrolment: answer challenge: %w", err)
	}
	p, err := x.message(&proto.EnrollUp{
		Proof: &proto.EnrollProof{Hello: x.hello, Nonce: m.Challenge.Nonce, Answer: answer}, Token: x.token,
	})
	return p, nil, err
}

func (x *exchange) message(m *proto.EnrollUp) (publication, error) {
	b, err := proto.Encode(m)
	if err != nil {
		return publication{}, fmt.Errorf("enrolment: %w", err)
	}
	return publication{leaf: proto.UpEnroll, payload: b}, nil
}

// seconds turns a time from the wire into one that is neither a busy loop nor a silence of years.
func seconds(n uint32) time.Duration {
	return min(max(time.Duration(n)*time.Second, time.Second), maxNext)
}

// enroll gets a certificate with the token.
func (l *Link) enroll(ctx context.Context) error {
	if l.cfg.Token == "" {
		return &finalError{errors.New("this device is not enrolled and has no token: start the agent with --token")}
	}
	l.status("enrolling with " + l.server.String())
	id := l.cfg.Device.ID()
	c, err := l.dial(ctx, login{
		clientID: "enroll-" + id, username: id, password: l.cfg.Token,
		subscribe: l.address(proto.DownEnroll).String(),
	})
	if errors.Is(err, errRefused) {
		return &finalError{fmt.Errorf("%w: the enrolment token is not accepted: it is mistyped, used up, expired or "+
			"revoked; an operator makes a new one with `probity token create`", err)}
	}
	if err != nil {
		return err
	}
	defer c.farewell(publication{}, time.Second)
	certificate, err := l.enrollOver(ctx, c)
	var denied *DeniedError
	var again *retryError
	if errors.As(err, &denied) && !errors.As(err, &again) {
		return &finalError{denied}
	}
	if err != nil {
		return err
	}
	return l.enrolled(certificate)
}

// enrollOver holds the exchange on a connection of its own.
func (l *Link) enrollOver(ctx context.Context, c *connection) (*proto.EnrollCertificate, error) {
	x := &exchange{device: l.cfg.Device, token: l.cfg.Token}
	out, err := x.start(ctx)
	repeat := backoff{min: l.cfg.Timing.Answer, max: l.cfg.Timing.AnswerMax, jitter: l.cfg.Jitter}
	for err == nil {
		if out.leaf != "" {
			if err := l.deliver(ctx, c, out); err != nil {
				return nil, err
			}
		}
		timer, stop := l.cfg.Clock.After(repeat.atLeastHalf())
		var m message
		select {
		case <-ctx.Done():
			stop()
			return nil, ctx.Err()
		case err := <-c.lost:
			stop()
			return nil, fmt.Errorf("connection lost while enrolling: %w", err)
		case <-timer: // repeated as it is: the verifier keeps no state, so a doubled message does no harm
			if repeat.count > maxRepeats {
				return nil, errUnheard
			}
			continue
		case m = <-c.inbox:
			stop()
		}
		repeat.reset()
		var down proto.EnrollDown
		if m.leaf != proto.DownEnroll || proto.Decode(m.payload, &down) != nil {
			l.cfg.Log.Warn("message ignored while enrolling", "leaf", string(m.leaf), "bytes", len(m.payload))
			out = publication{}
			continue
		}
		end := l.watch.begin("enrolling")
		var certificate *proto.EnrollCertificate
		out, certificate, err = x.answer(ctx, &down)
		end()
		if certificate != nil {
			return certificate, nil
		}
	}
	return nil, err
}

// deliver publishes and waits for the broker's acknowledgement.
func (l *Link) deliver(ctx context.Context, c *connection, p publication) error {
	t := c.publish(p)
	timer, stop := l.cfg.Clock.After(l.cfg.Timing.Publish)
	defer stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-c.lost:
		return fmt.Errorf("connection lost: %w", err)
	case <-timer:
		return errors.New("the broker does not acknowledge messages")
	case <-t.Done():
		return t.Error()
	}
}

// enrolled takes up a new certificate and stores it. That it cannot be stored is no failure: the device enrols again
// when it starts again.
func (l *Link) enrolled(m *proto.EnrollCertificate) error {
	if err := l.useCertificate(m.Chain, time.Duration(m.Renew)*time.Second); err != nil {
		return err
	}
	l.cfg.Log.Info("enrolled", "device", l.cfg.Device.ID(), "tenant", l.tenant, "identity_level", m.Level,
		"certificate_expires", l.expires)
	if err := l.cfg.Certificates.Save(m.Chain); err != nil {
		l.cfg.Log.Warn("the certificate cannot be stored, so the next start needs the token again", "reason", err)
	}
	return nil
}
