package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	v1 "github.com/probity-attest/probity/verifier/api/v1"
	"github.com/probity-attest/probity/verifier/notify"
	"github.com/probity-attest/probity/verifier/store"
)

type alertChannelID struct {
	ID string `path:"id" maxLength:"64" doc:"id or name"`
}

type newAlertChannel struct{ Body v1.AlertChannel }

type changeAlertChannel struct {
	ID   string `path:"id" maxLength:"64" doc:"id or name"`
	Body v1.AlertChannel
}

type listDeliveries struct {
	State  string `query:"state" enum:"waiting,sent,dead"`
	Alert  string `query:"alert" maxLength:"64" doc:"id of the alert that was told"`
	Before int64  `query:"before" minimum:"1" doc:"next of the page before"`
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"100"`
}

type deliveryID struct {
	ID int64 `path:"id" minimum:"1"`
}

func (s *server) registerChannels(doc huma.API) {
	register(s, doc, huma.Operation{
		OperationID: "list-alert-channels", Method: http.MethodGet, Path: "/v1/alert-channels",
		Summary: "List the channels through which alerts are told",
	}, s.alertChannels)
	register(s, doc, huma.Operation{
		OperationID: "add-alert-channel", Method: http.MethodPost, Path: "/v1/alert-channels", DefaultStatus: http.StatusCreated,
		Summary: "Add a channel; alert rules name it to use it",
	}, s.addAlertChannel)
	register(s, doc, huma.Operation{
		OperationID: "change-alert-channel", Method: http.MethodPut, Path: "/v1/alert-channels/{id}",
		Summary: "Replace a channel; one that leads elsewhere needs its secret again",
	}, s.changeAlertChannel)
	register(s, doc, huma.Operation{
		OperationID: "remove-alert-channel", Method: http.MethodDelete, Path: "/v1/alert-channels/{id}",
		DefaultStatus: http.StatusNoContent, Summary: "Remove a channel that no rule uses; what waits for it is given up",
	}, s.removeAlertChannel)
	register(s, doc, huma.Operation{
		OperationID: "test-alert-channel", Method: http.MethodPost, Path: "/v1/alert-channels/{id}/test",
		Summary: "Send a test through a channel, once; the answer says how it went",
	}, s.testAlertChannel)
	register(s, doc, huma.Operation{
		OperationID: "list-deliveries", Method: http.MethodGet, Path: "/v1/deliveries",
		Summary: "List what was sent, waits to be sent or was given up, newest first",
	}, s.deliveries)
	register(s, doc, huma.Operation{
		OperationID: "retry-delivery", Method: http.MethodPost, Path: "/v1/deliveries/{id}/retry", DefaultStatus: http.StatusAccepted,
		Summary: "Send again what was given up",
	}, s.retryDelivery)
}

func (s *server) alertChannels(ctx context.Context, p principal, _ *empty) (*body[v1.AlertChannels], error) {
	found, err := s.Store.AlertChannels(ctx, p.tenant)
	if err != nil {
		return nil, err
	}
	out := v1.AlertChannels{Channels: []v1.AlertChannel{}}
	for i := range found {
		out.Channels = append(out.Channels, channelDocument(&found[i]))
	}
	return &body[v1.AlertChannels]{out}, nil
}

func (s *server) addAlertChannel(ctx context.Context, p principal, in *newAlertChannel) (*body[v1.AlertChannel], error) {
	known, err := s.Store.AlertChannels(ctx, p.tenant)
	if err != nil {
		return nil, err
	}
	if len(known) >= maxAlertChannels {
		return nil, problemf(http.StatusConflict, "there are %d channels already: remove one", len(known))
	}
	c := channelOf(p, newAlertID(), &in.Body)
	c.Created = store.Micro(s.Now())
	return s.saveChannel(ctx, p, c, "added")
}

func (s *server) changeAlertChannel(ctx context.Context, p principal, in *changeAlertChannel) (*body[v1.AlertChannel], error) {
	was, err := s.findChannel(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	c := channelOf(p, was.ID, &in.Body)
	c.Created, c.Last, c.Failing = was.Created, was.Last, was.Failing
	if c.Secret == "" && was.Secret != "" {
		// Whoever may change a channel may not read its secret, so cannot have it sent elsewhere either.
		if c.Kind != was.Kind || c.Target != was.Target || c.User != was.User {
			return nil, problemf(http.StatusUnprocessableEntity, "secret: kind, target or user changed: give the secret again")
		}
		c.Secret = was.Secret
	}
	return s.saveChannel(ctx, p, c, "changed")
}

func (s *server) saveChannel(ctx context.Context, p principal, c *store.AlertChannel, what string) (*body[v1.AlertChannel], error) {
	texts := map[string]string{"name": c.Name}
	if err := checkTexts(texts); err != nil {
		return nil, err
	}
	if s.Alerts == nil {
		return nil, problemf(http.StatusServiceUnavailable, "this verifier sends no alerts")
	}
	if err := s.Alerts.Check(c); err != nil {
		if errors.Is(err, notify.ErrChannel) {
			return nil, problemf(http.StatusUnprocessableEntity, "%s", strings.TrimPrefix(err.Error(), notify.ErrChannel.Error()+": "))
		}
		return nil, err
	}
	state := ""
	if c.Disabled {
		state = ", disabled"
	}
	told := fmt.Sprintf("alert channel %q %s: %s to %s%s", c.Name, what, c.Kind, clip(c.Target), state)
	err := s.Store.SaveAlertChannel(ctx, *c, s.event(p, "", told))
	if errors.Is(err, store.ErrConflict) {
		return nil, problemf(http.StatusConflict, "name: another channel has it")
	}
	if err != nil {
		return nil, err
	}
	s.wakeAlerts()
	return &body[v1.AlertChannel]{channelDocument(c)}, nil
}

func (s *server) removeAlertChannel(ctx context.Context, p principal, in *alertChannelID) (*empty, error) {
	c, err := s.findChannel(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	err = s.Store.RemoveAlertChannel(ctx, p.tenant, c.ID, s.event(p, "", fmt.Sprintf("alert channel %q removed", c.Name)))
	if errors.Is(err, store.ErrConflict) {
		return nil, problemf(http.StatusConflict, "alert rules use it: take it out of them first")
	}
	return nil, err
}

// findChannel returns a channel by its id or, where none has it, its name.
func (s *server) findChannel(ctx context.Context, p principal, id string) (*store.AlertChannel, error) {
	found, err := s.Store.AlertChannels(ctx, p.tenant)
	if err != nil {
		return nil, err
	}
	for _, same := range []func(*store.AlertChannel) bool{
		func(c *store.AlertChannel) bool { return c.ID == id }, func(c *store.AlertChannel) bool { return c.Name == id },
	} {
		for i := range found {
			if same(&found[i]) {
				return &found[i], nil
			}
		}
	}
	return nil, problemf(http.StatusNotFound, "there is no such alert channel")
}

func (s *server) testAlertChannel(ctx context.Context, p principal, in *alertChannelID) (*body[v1.Delivery], error) {
	c, err := s.findChannel(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	if s.Alerts == nil {
		return nil, problemf(http.StatusServiceUnavailable, "this verifier sends no alerts")
	}
	d, err := s.Alerts.Test(ctx, c, p.actor())
	if err != nil {
		return nil, err
	}
	return &body[v1.Delivery]{deliveryDocument(&d)}, nil
}

func (s *server) deliveries(ctx context.Context, p principal, in *listDeliveries) (*body[v1.Deliveries], error) {
	filter := store.DeliveryFilter{State: store.DeliveryState(in.State), Alert: in.Alert}
	found, err := s.Store.Deliveries(ctx, p.tenant, filter, in.Before, in.Limit+1)
	if err != nil {
		return nil, err
	}
	out := v1.Deliveries{Deliveries: []v1.Delivery{}}
	if len(found) > in.Limit {
		found = found[:in.Limit]
		out.Next = found[in.Limit-1].ID
	}
	for i := range found {
		out.Deliveries = append(out.Deliveries, deliveryDocument(&found[i]))
	}
	return &body[v1.Deliveries]{out}, nil
}

func (s *server) retryDelivery(ctx context.Context, p principal, in *deliveryID) (*empty, error) {
	now := s.Now().UTC()
	err := s.Store.RetryDelivery(ctx, p.tenant, in.ID, now, notify.Expires(now),
		s.event(p, "", fmt.Sprintf("delivery %d of an alert sent again", in.ID)))
	if errors.Is(err, store.ErrConflict) {
		return nil, problemf(http.StatusConflict, "it was not given up, or its channel or recipient was removed: there is nothing to send again")
	}
	if err != nil {
		return nil, err
	}
	s.wakeAlerts()
	return nil, nil
}

func channelOf(p principal, id string, in *v1.AlertChannel) *store.AlertChannel {
	return &store.AlertChannel{
		Tenant: p.tenant, ID: id, Name: in.Name, Kind: in.Kind, Target: in.Target, To: in.To, From: in.From, User: in.User, Secret: in.Secret,
		Disabled: in.Disabled,
	}
}

func channelDocument(c *store.AlertChannel) v1.AlertChannel {
	return v1.AlertChannel{
		ID: c.ID, Name: c.Name, Kind: c.Kind, Target: c.Target, To: c.To, From: c.From, User: c.User, HasSecret: c.Secret != "",
		Disabled: c.Disabled, Created: c.Created.UTC(), Last: moment(c.Last), Failing: c.Failing,
	}
}

func deliveryDocument(d *store.Delivery) v1.Delivery {
	out := v1.Delivery{
		ID: d.ID, Key: d.Key, Alert: d.Alert, Subject: d.Subject, Channel: d.Name, Recipient: d.Recipient,
		State: string(d.State), Attempts: d.Attempts, Error: d.Error, Created: d.Created.UTC(), Sent: moment(d.Sent),
	}
	if d.State == store.DeliveryWaiting {
		out.Next = moment(d.Next)
	}
	return out
}
